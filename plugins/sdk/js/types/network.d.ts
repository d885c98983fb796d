/**
 * What is wrong with a CIDR block (RFC 4632, RFC 4291) or a single address that an operator configures, to be put behind
 * it; `null` when `request.clientWithin` takes it without trapping.
 *
 * @param {string} text
 * @returns {string | null}
 */
export declare function checkNetwork(text: string): string | null;
