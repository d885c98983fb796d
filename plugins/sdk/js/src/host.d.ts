// The contract's functions, as componentize-qjs imports them.
declare module "wasi:config/store@0.2.0-rc.1" {
  export function get(key: string): string | null | undefined;
  export function getAll(): [string, string][];
}
declare module "wasmserve:policy/request@0.1.0" {
  export function method(): string;
  export function path(): string;
  export function targets(): string[];
  export function query(): string | null | undefined;
  export function queryParameter(name: string): string | null | undefined;
  export function queryParameterValues(name: string): string[];
  export function header(name: string): string | null | undefined;
  export function headerValues(name: string): Uint8Array[];
  export function cookie(name: string): string | null | undefined;
  export function scheme(): string;
  export function host(): string;
  export function site(): string;
  export function clientAddress(): string | null | undefined;
  export function clientWithin(cidr: string): boolean;
  export function fact(name: string): string | null | undefined;
}
declare module "wasmserve:policy/clock@0.1.0" {
  export function now(): number | bigint;
  export function before(unixSeconds: number): boolean;
}
declare module "wasmserve:policy/counters@0.1.0" {
  export function take(
    key: string,
    capacity: number,
    refillPerSecond: number,
  ): { granted: boolean; remaining: number; retryAfter: number; fullAfter: number };
}
declare module "wasi:logging/logging@0.1.0-draft" {
  export function log(level: "trace" | "debug" | "info" | "warn" | "error", context: string, message: string): void;
}
declare module "wasi:keyvalue/store@0.2.0-draft" {
  export function open(name: string): any;
}
declare module "wasi:keyvalue/atomics@0.2.0-draft" {
  export function increment(bucket: any, key: string, delta: number): number;
}
