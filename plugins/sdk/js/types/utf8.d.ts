/**
 * A text in UTF-8. A surrogate without its other half becomes U+FFFD, as WHATWG Encoding, section 8 has it.
 *
 * @param {string} text
 * @returns {Uint8Array}
 */
export declare function utf8(text: string): Uint8Array;
