/** What a socket asks for, bytes. The system gives what it permits (net.core.rmem_max on Linux). */
export const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

/** <sys/socket.h>: level and option differ between systems. */
const OPTIONS = {
  linux: { libraries: ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"], level: 1, option: 8 },
  darwin: { libraries: ["libSystem.B.dylib"], level: 0xffff, option: 0x1002 },
} as const;

/** Raises the receive buffer of a socket; false where that cannot be done, and the socket works with what it has. */
export type ReceiveBufferRaiser = (socket: object) => boolean;

let made: Promise<ReceiveBufferRaiser> | null = null;

/**
 * What raises SO_RCVBUF of a `Bun.udpSocket`, which has no option for it, by calling setsockopt on its descriptor. The default
 * of Linux holds some 90 full-size datagrams: a pause of 1.5 ms at 60,000 datagrams per second loses some. Made once: loading a
 * library costs more than a socket.
 */
export function receiveBufferRaiser(): Promise<ReceiveBufferRaiser> {
  made ??= make();
  return made;
}

async function make(): Promise<ReceiveBufferRaiser> {
  const how = process.platform === "linux" || process.platform === "darwin" ? OPTIONS[process.platform] : null;
  if (!how) return () => false;
  const ffi = await import("bun:ffi");
  for (const name of how.libraries) {
    try {
      const { i32, u32, ptr } = ffi.FFIType;
      const { symbols } = ffi.dlopen(name, { setsockopt: { args: [i32, i32, i32, ptr, u32], returns: i32 } });
      const set = (fd: number, size: number): boolean =>
        symbols.setsockopt(fd, how.level, how.option, ffi.ptr(new Int32Array([size])), 4) === 0;
      return (socket) => "fd" in socket && typeof socket.fd === "number" && socket.fd >= 0 && raise(socket.fd, set);
    } catch {} // not this C library
  }
  return () => false;
}

/** BSD refuses what is above its limit, where Linux takes the limit: so halve until it is accepted. */
function raise(fd: number, set: (fd: number, size: number) => boolean): boolean {
  for (let size = RECEIVE_BUFFER_BYTES; size >= 128 * 1024; size /= 2) if (set(fd, size)) return true;
  return false;
}
