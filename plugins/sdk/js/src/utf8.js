// The bytes of a text: the runtime has no `TextEncoder`.

/**
 * A text in UTF-8. A surrogate without its other half becomes U+FFFD, as WHATWG Encoding, section 8 has it.
 *
 * @param {string} text
 * @returns {Uint8Array}
 */
export function utf8(text) {
  const bytes = [];
  for (const character of text.toWellFormed()) {
    const point = character.codePointAt(0) ?? 0;
    if (point < 0x80) {
      bytes.push(point);
    } else if (point < 0x800) {
      bytes.push(0xc0 | (point >> 6), tail(point));
    } else if (point < 0x10000) {
      bytes.push(0xe0 | (point >> 12), tail(point >> 6), tail(point));
    } else {
      bytes.push(0xf0 | (point >> 18), tail(point >> 12), tail(point >> 6), tail(point));
    }
  }
  return new Uint8Array(bytes);
}

/** @param {number} bits */
function tail(bits) {
  return 0x80 | (bits & 0x3f);
}
