// `Mistakes`: everything that is wrong with a configuration, said at once.
import { checkNetwork } from "./network.js";
import { checkPrefix } from "./path.js";

/** Collects what is wrong with a configuration, so that an operator learns of all of it at once. */
export class Mistakes {
  /** @type {string[]} */
  #noted = [];

  /**
   * Notes what is wrong with a key: the problem follows the key's name.
   *
   * @param {string} key
   * @param {string} problem
   */
  note(key, problem) {
    this.#noted.push(`\`${key}\` ${problem}`);
  }

  /**
   * Notes what is wrong with one of the texts of a key: the problem follows the text. `null`: nothing is.
   *
   * @param {string} key
   * @param {string} text
   * @param {string | null} problem
   */
  noteText(key, text, problem) {
    if (problem !== null) {
      this.#noted.push(`\`${key}\`: ${JSON.stringify(text)} ${problem}`);
    }
  }

  /**
   * Notes which of these are no prefixes, or that there are none.
   *
   * @param {string} key
   * @param {string[]} prefixes
   */
  checkPrefixes(key, prefixes) {
    if (prefixes.length === 0) {
      this.note(key, "is empty: nothing would be meant");
    }
    prefixes.forEach((prefix) => this.noteText(key, prefix, checkPrefix(prefix)));
  }

  /**
   * Notes which of these are no networks.
   *
   * @param {string} key
   * @param {string[]} networks
   */
  checkNetworks(key, networks) {
    networks.forEach((network) => this.noteText(key, network, checkNetwork(network)));
  }

  /**
   * @throws {Error} everything that was noted
   */
  check() {
    if (this.#noted.length > 0) {
      throw new Error(this.#noted.join("; "));
    }
  }
}
