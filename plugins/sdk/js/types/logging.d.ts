/**
 * The values of variables and the flow of control.
 *
 * @param {string} message
 */
export declare function trace(message: string): void;
/**
 * Of interest to whoever debugs the policy.
 *
 * @param {string} message
 */
export declare function debug(message: string): void;
/**
 * Of interest to whoever watches the server.
 *
 * @param {string} message
 */
export declare function info(message: string): void;
/**
 * Something is not as it should be.
 *
 * @param {string} message
 */
export declare function warn(message: string): void;
/**
 * Something failed.
 *
 * @param {string} message
 */
export declare function error(message: string): void;
