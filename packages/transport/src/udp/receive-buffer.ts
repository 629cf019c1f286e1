/** What a socket asks for, bytes. The system gives what it permits (net.core.rmem_max on Linux). */
export const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

/** <sys/socket.h>: level and option differ between systems. */
const OPTIONS = {
  linux: { libraries: ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"], level: 1, option: 8 },
  darwin: { libraries: ["libSystem.B.dylib"], level: 0xffff, option: 0x1002 },
} as const;

/**
 * Makes what raises SO_RCVBUF of a `Bun.udpSocket`, which has no option for it, by calling setsockopt on its descriptor. The
 * default of Linux holds some 90 full-size datagrams: a pause of 1.5 ms at 60,000 datagrams per second loses some. Where it
 * cannot be done (another system, another C library, no descriptor) it returns false and the socket works with what it has.
 */
export async function receiveBufferRaiser(): Promise<(socket: object) => boolean> {
  const how = process.platform === "linux" || process.platform === "darwin" ? OPTIONS[process.platform] : null;
  if (!how) return () => false;
  const ffi = await import("bun:ffi");
  return (socket) => {
    const fd = "fd" in socket ? socket.fd : null;
    if (typeof fd !== "number" || fd < 0) return false;
    for (const name of how.libraries) {
      try {
        return raise(ffi, name, fd, how.level, how.option);
      } catch {} // not this C library
    }
    return false;
  };
}

/** @throws Error when there is no such library. */
function raise(ffi: typeof import("bun:ffi"), name: string, fd: number, level: number, option: number): boolean {
  const { i32, u32, ptr } = ffi.FFIType;
  const library = ffi.dlopen(name, { setsockopt: { args: [i32, i32, i32, ptr, u32], returns: i32 } });
  try {
    // BSD refuses what is above its limit, where Linux takes the limit: so halve until it is accepted.
    for (let size = RECEIVE_BUFFER_BYTES; size >= 128 * 1024; size /= 2) {
      const value = new Int32Array([size]);
      if (library.symbols.setsockopt(fd, level, option, ffi.ptr(value), 4) === 0) return true;
    }
    return false;
  } finally {
    library.close();
  }
}
