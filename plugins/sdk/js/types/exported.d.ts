/**
 * @template T
 * @template C
 * @param {new (config: C) => T} type
 * @param {C} config
 */
export declare function exported<T, C>(type: new (config: C) => T, config: C): {
    configure(): void;
    /**
     * @template R
     * @param {(made: T) => R} call
     * @returns {R}
     */
    configured<R>(call: (made: T) => R): R;
};
