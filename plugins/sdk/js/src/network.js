// Blocks of addresses in a configuration.

const NEITHER = "is neither an address nor a CIDR block such as 10.0.0.0/8 or 2001:db8::/32";

/**
 * What is wrong with a CIDR block (RFC 4632, RFC 4291) or a single address that an operator configures, to be put behind
 * it; `null` when `request.clientWithin` takes it without trapping.
 *
 * @param {string} text
 * @returns {string | null}
 */
export function checkNetwork(text) {
  const [address = "", length, ...more] = text.split("/");
  const groups = parse(address);
  if (groups === null || more.length > 0) {
    return NEITHER;
  }
  const bits = groups.length === 4 ? 32 : 128;
  // Clients' addresses are compared in their canonical form, which such a block would never hold.
  if (bits === 128 && groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return "is an IPv4 address in IPv6 form: write it as IPv4";
  }
  if (length !== undefined && !(/^(0|[1-9][0-9]{0,2})$/.test(length) && Number(length) <= bits)) {
    return `has a length that is not 0 to ${bits}`;
  }
  return null;
}

/**
 * The four numbers of an IPv4 address, the eight of an IPv6 address; `null` for anything else.
 *
 * @param {string} text
 * @returns {number[] | null}
 */
function parse(text) {
  if (!text.includes(":")) {
    return parseIpv4(text);
  }
  const halves = text.split("::");
  if (halves.length > 2) {
    return null;
  }
  const [before, after] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const last = (after ?? before)?.at(-1);
  /** @type {number[]} */
  let tail = [];
  if (last?.includes(".")) {
    const ipv4 = parseIpv4(last);
    if (ipv4 === null) {
      return null;
    }
    const [a = 0, b = 0, c = 0, d = 0] = ipv4;
    tail = [a * 256 + b, c * 256 + d];
    (after ?? before)?.pop();
  }
  const written = [...(before ?? []), ...(after ?? [])];
  if (!written.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) {
    return null;
  }
  const zeros = 8 - written.length - tail.length;
  if (after === undefined ? zeros !== 0 : zeros < 1) {
    return null;
  }
  const numbers = (/** @type {string[]} */ groups) => groups.map((group) => parseInt(group, 16));
  return [...numbers(before ?? []), ...Array(zeros).fill(0), ...numbers(after ?? []), ...tail];
}

/**
 * @param {string} text
 * @returns {number[] | null}
 */
function parseIpv4(text) {
  const parts = text.split(".");
  const fits = (/** @type {string} */ part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255;
  return parts.length === 4 && parts.every(fits) ? parts.map(Number) : null;
}
