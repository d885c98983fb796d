/** Collects what is wrong with a configuration, so that an operator learns of all of it at once. */
export declare class Mistakes {
    #private;
    /**
     * Notes what is wrong with a key: the problem follows the key's name.
     *
     * @param {string} key
     * @param {string} problem
     */
    note(key: string, problem: string): void;
    /**
     * Notes what is wrong with one of the texts of a key: the problem follows the text. `null`: nothing is.
     *
     * @param {string} key
     * @param {string} text
     * @param {string | null} problem
     */
    noteText(key: string, text: string, problem: string | null): void;
    /**
     * Notes which of these are no prefixes, or that there are none.
     *
     * @param {string} key
     * @param {string[]} prefixes
     */
    checkPrefixes(key: string, prefixes: string[]): void;
    /**
     * Notes which of these are no networks.
     *
     * @param {string} key
     * @param {string[]} networks
     */
    checkNetworks(key: string, networks: string[]): void;
    /**
     * @throws {Error} everything that was noted
     */
    check(): void;
}
