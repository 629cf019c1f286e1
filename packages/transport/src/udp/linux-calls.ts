/** System calls for sockets of our own on Linux, by `bun:ffi`: what {@link PolledUdpSocket} and {@link Readiness} are made of. */
import { constants } from "node:os";
import type { IpFamily, SocketAddress } from "@adit/core";

/** <sys/socket.h>, <netinet/in.h>, <sys/epoll.h>, <linux/aio_abi.h> */
const AF = { 4: 2, 6: 10 } as const;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x80000;
const NAME_LENGTH = { 4: 16, 6: 28 } as const;
const MSG_DONTWAIT = 0x40;
const MSG_ERRQUEUE = 0x2000;
const EPOLL_CTL = { add: 1, remove: 2, change: 3 } as const;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const REUSE_PORT = { level: SOL_SOCKET, option: 15 };
/** <linux/udp.h>: datagrams of one length from one sender are handed over as one run, with their length beside them. */
export const UDP_GRO = { level: 17, option: 104 };
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
/** IP_RECVERR and IPV6_RECVERR: an ICMP message about something that was sent is queued, and told. */
const RECEIVE_ERRORS = { 4: { level: 0, option: 11 }, 6: { level: IPPROTO_IPV6, option: 25 } } as const;
/** For `syscall`: asynchronous I/O of the kernel has no functions in the C library. */
const AIO_CALLS = {
  x64: { setup: 206, destroy: 207, getevents: 208, submit: 209 },
  arm64: { setup: 0, destroy: 1, getevents: 4, submit: 2 },
} as const;
type AioNumbers = (typeof AIO_CALLS)[keyof typeof AIO_CALLS];
const IOCB_CMD_POLL = 5;
const IOCB_FLAG_RESFD = 1;

export const EPOLLIN = 1;
export const EPOLLOUT = 4;
export const EPOLLERR = 8;

/** Ready sockets that one call tells of; the next call tells of the others. */
const MAX_READY = 256;

/** What {@link LinuxCalls.open} throws. */
export class SystemCallError extends Error {
  /** As `EADDRINUSE`. */
  readonly code: string;

  constructor(call: string, code: string) {
    super(`${call}: ${code}`);
    this.code = code;
  }
}

/** A descriptor with a name: what the other calls of ours on a socket ask for. */
export interface OpenSocket {
  readonly fd: number;
  readonly port: number;
}

export type LinuxCalls = ReturnType<typeof wrap>;

let loaded: Promise<LinuxCalls | null> | null = null;

/** Null where they are not to be had: another system or runtime, another C library. */
export function linuxCalls(): Promise<LinuxCalls | null> {
  loaded ??= load();
  return loaded;
}

const LIBRARIES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"];

async function load(): Promise<LinuxCalls | null> {
  const { platform, arch, versions } = process;
  if (platform !== "linux" || versions.bun === undefined || (arch !== "x64" && arch !== "arm64")) return null;
  for (const name of LIBRARIES) {
    try {
      return wrap(await open(name), AIO_CALLS[arch], arch === "x64");
    } catch {} // not this C library
  }
  return null;
}

async function open(library: string) {
  const ffi = await import("bun:ffi");
  const { i32, u32, ptr, i64_fast } = ffi.FFIType;
  const { symbols } = ffi.dlopen(library, {
    socket: { args: [i32, i32, i32], returns: i32 },
    bind: { args: [i32, ptr, u32], returns: i32 },
    connect: { args: [i32, ptr, u32], returns: i32 },
    getsockname: { args: [i32, ptr, ptr], returns: i32 },
    setsockopt: { args: [i32, i32, i32, ptr, u32], returns: i32 },
    getsockopt: { args: [i32, i32, i32, ptr, ptr], returns: i32 },
    close: { args: [i32], returns: i32 },
    recvmmsg: { args: [i32, ptr, u32, i32, ptr], returns: i32 },
    recvmsg: { args: [i32, ptr, i32], returns: i64_fast },
    epoll_create1: { args: [i32], returns: i32 },
    epoll_ctl: { args: [i32, i32, i32, ptr], returns: i32 },
    epoll_wait: { args: [i32, ptr, i32, i32], returns: i32 },
    eventfd: { args: [u32, i32], returns: i32 },
    syscall: { args: [i64_fast, i64_fast, i64_fast, ptr, ptr, ptr], returns: i64_fast },
    __errno_location: { args: [], returns: ptr },
  });
  const { read } = ffi;
  const errnoAt = symbols.__errno_location() ?? (0 as never);
  return { symbols, addressOf: (memory: Uint8Array) => ffi.ptr(memory), errno: () => read.i32(errnoAt, 0) };
}

/** The name of an error number; of two names for one, as EAGAIN and EWOULDBLOCK, the first. */
const ERROR_NAMES = new Map(
  Object.entries(constants.errno)
    .toReversed()
    .map(([name, number]) => [number, name]),
);

/** Memory that the kernel reads or writes; whoever gives its address to the kernel keeps it. */
interface Memory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Its address, as the calls take it. */
  readonly at: never;
}

/** The functions of the C library, and what goes with each of their groups below. */
interface Library {
  readonly c: Awaited<ReturnType<typeof open>>["symbols"];
  readonly memory: (sizeBytes: number) => Memory;
  /** Why the last call failed; to be asked right after it. */
  readonly failure: () => string;
}

function wrap({ symbols: c, addressOf, errno }: Awaited<ReturnType<typeof open>>, aio: AioNumbers, isPacked: boolean) {
  const memory = (sizeBytes: number): Memory => {
    const view = new DataView(new ArrayBuffer(sizeBytes)); // an ArrayBuffer of its own: it does not move
    const bytes = new Uint8Array(view.buffer);
    return { bytes, view, at: addressOf(bytes) as never };
  };
  const failure = (): string => ERROR_NAMES.get(errno()) ?? "unknown";
  const library: Library = { c, memory, failure };
  return {
    failure,
    addressOf: (bytes: Uint8Array): number => Number(addressOf(bytes)),
    /** The name of an error number. */
    errorName: (number: number): string => ERROR_NAMES.get(number) ?? "unknown",
    ...socketsOf(library),
    ...epollOf(library, isPacked),
    bell: (epoll: number, eventfd: number) => bellOf(library, aio, epoll, eventfd),
  };
}

function socketsOf({ c, memory, failure }: Library) {
  const [name, four, length] = [memory(NAME_LENGTH[6]), memory(4), memory(4)];
  const set = (fd: number, { level, option }: { level: number; option: number }, value: number): boolean => {
    four.view.setInt32(0, value, true);
    return c.setsockopt(fd, level, option, four.at, 4) === 0;
  };
  const write = ({ bytes, port, family }: SocketAddress): void => {
    name.bytes.fill(0);
    name.view.setUint16(0, AF[family], true);
    name.view.setUint16(2, port, false);
    name.bytes.set(bytes, family === 4 ? 4 : 8);
  };
  /** Not bound yet; negative when there is none. ICMP errors are told. */
  const socket = (family: IpFamily): number => {
    const fd = c.socket(AF[family], SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fd;
    if (family === 6) set(fd, { level: IPPROTO_IPV6, option: IPV6_V6ONLY }, 1);
    set(fd, RECEIVE_ERRORS[family], 1);
    return fd;
  };
  const bind = (fd: number, address: SocketAddress): boolean => {
    write(address);
    return c.bind(fd, name.at, NAME_LENGTH[address.family]) === 0;
  };
  const connect = (fd: number, peer: SocketAddress): boolean => {
    write(peer);
    return c.connect(fd, name.at, NAME_LENGTH[peer.family]) === 0;
  };
  return {
    /** A bound UDP socket. @throws SystemCallError */
    open(address: SocketAddress): OpenSocket {
      const fd = socket(address.family);
      if (fd < 0) throw new SystemCallError("socket", failure());
      if (!bind(fd, address)) {
        const code = failure();
        c.close(fd);
        throw new SystemCallError("bind", code);
      }
      length.view.setUint32(0, NAME_LENGTH[address.family], true);
      c.getsockname(fd, name.at, length.at);
      return { fd, port: name.view.getUint16(2, false) };
    },
    /**
     * A socket beside those that are bound to that address, which gets what comes from `peer`, and in runs; null when the system refuses any
     * of it. They share the address with sockets of the same user for as long as that takes. What came before the socket was connected may be of others.
     */
    openBeside(bound: readonly number[], address: SocketAddress, peer: SocketAddress): number | null {
      const fd = socket(address.family);
      if (fd < 0) return null;
      const all = [...bound, fd];
      for (const one of all) set(one, REUSE_PORT, 1);
      const isOpen = set(fd, UDP_GRO, 1) && bind(fd, address) && connect(fd, peer);
      for (const one of all) set(one, REUSE_PORT, 0);
      if (isOpen) return fd;
      c.close(fd);
      return null;
    },
    close: (fd: number): void => void c.close(fd),
    /** recvmmsg(2) into `count` struct mmsghdr at that address; how many came, negative when none. */
    receive: (fd: number, headersAt: number, count: number): number =>
      c.recvmmsg(fd, headersAt as never, count, MSG_DONTWAIT, null),
    /** Takes one from the socket's error queue into the struct msghdr at that address; false when it is empty. */
    receiveError: (fd: number, headerAt: number): boolean =>
      Number(c.recvmsg(fd, headerAt as never, MSG_ERRQUEUE | MSG_DONTWAIT)) >= 0,
    /** Takes the error that the socket's next call would fail with; null when there is none. */
    pendingError(fd: number): string | null {
      length.view.setUint32(0, 4, true);
      if (c.getsockopt(fd, SOL_SOCKET, SO_ERROR, four.at, length.at) < 0) return null;
      const number = four.view.getInt32(0, true);
      return number === 0 ? null : (ERROR_NAMES.get(number) ?? "unknown");
    },
  };
}

function epollOf({ c, memory }: Library, isPacked: boolean) {
  /** struct epoll_event is packed on x86 alone. */
  const event = isPacked ? { bytes: 12, dataAt: 4 } : { bytes: 16, dataAt: 8 };
  const [one, events] = [memory(event.bytes), memory(event.bytes * MAX_READY)];
  const control = (epoll: number, operation: number, fd: number, wanted: number): boolean => {
    one.view.setUint32(0, wanted, true);
    one.view.setUint32(event.dataAt, fd, true);
    return c.epoll_ctl(epoll, operation, fd, one.at) === 0;
  };
  return {
    epoll: (): number => c.epoll_create1(SOCK_CLOEXEC),
    watch: (epoll: number, fd: number): boolean => control(epoll, EPOLL_CTL.add, fd, EPOLLIN),
    watchFor: (epoll: number, fd: number, wanted: number): boolean => control(epoll, EPOLL_CTL.change, fd, wanted),
    unwatch: (epoll: number, fd: number): boolean => control(epoll, EPOLL_CTL.remove, fd, 0),
    /** What is ready now, at most {@link MAX_READY}; how many. */
    ready: (epoll: number): number => c.epoll_wait(epoll, events.at, MAX_READY, 0),
    readyDescriptor: (index: number): number => events.view.getUint32(index * event.bytes + event.dataAt, true),
    readyEvents: (index: number): number => events.view.getUint32(index * event.bytes, true),
    eventfd: (): number => c.eventfd(0, SOCK_NONBLOCK | SOCK_CLOEXEC),
  };
}

/** A request of asynchronous I/O that is made again and again. */
export interface Bell {
  /** Asks to be rung when something is ready; at once when that is so already. False when the system does not take it. */
  arm(): boolean;
  /** Takes the answer, so that there is room for the next. */
  rang(): void;
  close(): void;
}

/** Raises `eventfd` when `epoll` has something ready; null where the system has no such requests. */
function bellOf({ c, memory }: Library, aio: AioNumbers, epoll: number, eventfd: number): Bell | null {
  const context = memory(8);
  if (Number(c.syscall(aio.setup, 1, context.at, null, null, null)) < 0) return null;
  const id = Number(context.view.getBigUint64(0, true));
  const [request, list, answers, timeout] = [memory(64), memory(8), memory(32), memory(16)]; // struct iocb, io_event, timespec
  request.view.setUint16(16, IOCB_CMD_POLL, true);
  request.view.setUint32(20, epoll, true);
  request.view.setBigUint64(24, BigInt(EPOLLIN), true);
  request.view.setUint32(56, IOCB_FLAG_RESFD, true);
  request.view.setUint32(60, eventfd, true);
  list.view.setBigUint64(0, BigInt(Number(request.at)), true);
  return {
    // The look at the request keeps its memory, which the kernel reads each time.
    arm: () => request.bytes.length > 0 && Number(c.syscall(aio.submit, id, 1, list.at, null, null)) === 1,
    rang: () => void c.syscall(aio.getevents, id, 0, 1 as never, answers.at, timeout.at),
    close: () => void c.syscall(aio.destroy, id, 0, null, null, null),
  };
}
