"""Seconds that Pillow takes to decode the first JPEG files of an archive: pillow.py ARCHIVE COUNT PROCESSES."""

import io
import multiprocessing
import sys
import tarfile
import time

from PIL import Image


def decode(content):
    """RGB bytes, as torchvision's loader converts every image."""
    return Image.open(io.BytesIO(content)).convert("RGB").tobytes()


def first(path, count):
    files = []
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.isfile() and member.name.lower().endswith((".jpg", ".jpeg")):
                files.append(archive.extractfile(member).read())
                if len(files) == count:
                    break
    return files


def main():
    path, count, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    files = first(path, count)
    started = time.perf_counter()
    if processes == 1:
        for content in files:
            decode(content)
    else:
        with multiprocessing.Pool(processes) as pool:
            for _ in pool.imap(decode, files, chunksize=256):
                pass
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
