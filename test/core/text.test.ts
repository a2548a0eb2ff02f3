import { expect, test } from 'vitest';
import {
  counted,
  inOneLine,
  percent,
  percentage,
  showSeconds,
  signed,
  visible,
  whole,
  wrapped,
} from '../../src/core/text.js';

test('counts have their thousands separated and their noun in the right number', () => {
  expect([0, 1, 2, 10_000].map((count) => counted(count, 'file'))).toEqual([
    '0 files',
    '1 file',
    '2 files',
    '10,000 files',
  ]);
  expect([1, 2].map((count) => counted(count, 'class', 'classes'))).toEqual(['1 class', '2 classes']);
  expect(whole(647_168.4)).toBe('647,168');
});

test('a chosen share has as many digits as it needs, three at most', () => {
  expect([1, 0.5, 0.07, 0.001, 1 / 3].map(percentage)).toEqual(['100 %', '50 %', '7 %', '0.1 %', '33.3 %']);
});

test('measured shares have two decimal places, and their differences a sign', () => {
  expect([0.98765, -0.0042, -0.00001].map(percent)).toEqual(['98.77', '−0.42', '0.00']);
  expect([0.0021, -0.0418, 0, -0.00001].map(signed)).toEqual(['+0.21', '−4.18', '±0.00', '±0.00']);
});

test('a text is broken into lines at spaces, after commas and the dots of names, and where there are none', () => {
  expect(wrapped('one two  three', 8)).toEqual(['one two', 'three']);
  expect(wrapped('["a","b","c"]', 8)).toEqual(['["a",', '"b","c"]']);
  expect(wrapped('fingerprint of it', 5)).toEqual(['finge', 'rprin', 't of', 'it']);
  expect(wrapped('recipe.epochs 93.001', 9)).toEqual(['recipe.', 'epochs', '93.001']);
  expect(wrapped('ééé', 3)).toEqual(['ééé']);
  expect(wrapped('', 5)).toEqual(['']);
});

test('times are written as a person would', () => {
  expect([0, 7.6, 59.7, 125, 3840].map(showSeconds)).toEqual(['0 s', '8 s', '1 min 0 s', '2 min 5 s', '1 h 4 min']);
});

test('what steers a terminal is spelt out, and letters of all languages stay', () => {
  expect(visible('a\x1b[2J\x07\x9b31m\r\x7f')).toBe('a\\x1b[2J\\x07\\x9b31m\\x0d\\x7f');
  expect(visible('\u202eevil\u202c \u2066x\u2069\u200f')).toBe('\\u202eevil\\u202c \\u2066x\\u2069\\u200f');
  const kept = 'naïve «café» 猫 🐈‍⬛ ± −1 % ─ עברית\n\ttwo lines';
  expect(visible(kept)).toBe(kept);
  expect(inOneLine('a\n\tb')).toBe('a\\n\\tb');
});
