"""Writes parquet.json: files as PyArrow, and so Hugging Face's datasets, write them, in base64 (pip install pyarrow)."""

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def png(red, green, blue):
    """An image of 2 by 2 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([red, green, blue]) * 2) * 2
    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


images = [png(255, 0, 0), png(0, 255, 0), png(0, 0, 255), png(255, 0, 0), png(9, 9, 9)]
labels = [0, 1, 2, 0, 1]
table = pa.table(
    {
        "image": pa.array(
            [{"bytes": image, "path": None} for image in images],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
        "label": pa.array(labels, pa.int64()),
    }
)


def written(**options):
    out = io.BytesIO()
    pq.write_table(table, out, store_schema=False, **options)
    return base64.b64encode(out.getvalue()).decode()


files = {
    "snappy": written(),
    "gzip, plain": written(compression="gzip", use_dictionary=False),
    "brotli, pages of version 2": written(compression="brotli", data_page_version="2.0"),
    "no compression, pages of version 2": written(
        compression="none", use_dictionary=False, data_page_version="2.0", write_statistics=False
    ),
    "differences": written(
        use_dictionary=False,
        column_encoding={
            "image.bytes": "DELTA_LENGTH_BYTE_ARRAY",
            "image.path": "PLAIN",
            "label": "DELTA_BINARY_PACKED",
        },
        row_group_size=3,
    ),
}
Path(__file__).with_suffix(".json").write_text(json.dumps(files, indent=2) + "\n")
