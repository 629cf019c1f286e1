/** What a socket asks for, bytes. The system gives what it permits (net.core.rmem_max on Linux). */
export const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

/** <sys/socket.h>: level and option differ between systems. */
const OPTIONS = {
  linux: { library: "libc.so.6", level: 1, option: 8 },
  darwin: { library: "libSystem.B.dylib", level: 0xffff, option: 0x1002 },
} as const;

/**
 * Raises SO_RCVBUF of a `Bun.udpSocket`, which has no option for it, by calling setsockopt on its descriptor. The default of
 * Linux holds some 90 full-size datagrams: a pause of 1.5 ms at 60,000 datagrams per second loses some. Where it cannot be done
 * (another system, another C library, no descriptor) the socket works with what it has.
 */
export async function raiseReceiveBuffer(socket: object): Promise<boolean> {
  const fd = "fd" in socket ? socket.fd : null;
  const how = process.platform === "linux" || process.platform === "darwin" ? OPTIONS[process.platform] : null;
  if (typeof fd !== "number" || fd < 0 || !how) return false;
  try {
    const { dlopen, FFIType, ptr } = await import("bun:ffi");
    const library = dlopen(how.library, {
      setsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
    });
    try {
      // BSD refuses what is above its limit, where Linux takes the limit: so halve until it is accepted.
      for (let size = RECEIVE_BUFFER_BYTES; size >= 128 * 1024; size /= 2) {
        const value = new Int32Array([size]);
        if (library.symbols.setsockopt(fd, how.level, how.option, ptr(value), 4) === 0) return true;
      }
      return false;
    } finally {
      library.close();
    }
  } catch {
    return false;
  }
}
