import { expect, test } from 'vitest';
import { openPython } from '../../bench/common.js';

test('a Python that is not there is named, and what it should have', async () => {
  await expect(openPython('/nowhere/python', 'pytorch.py', 1)).rejects.toThrow(
    '/nowhere/python ended: does it have PyTorch?',
  );
});
