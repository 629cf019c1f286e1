import type { IpFamily } from "@adit/core";
import type { UdpCounts } from "./counts.ts";
import { MessageMemory, MessageSender, type MessageSystem } from "./messages.ts";
import { MAX_MESSAGES, MessageReceiver, ReceivedMemory, type ReceivingSystem } from "./received-messages.ts";

/** What a socket asks for, bytes. The system gives what it permits (net.core.rmem_max on Linux). */
export const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

/** What the system can do for a `Bun.udpSocket`, which has no option for it. Each says false, or null, where that cannot be done. */
export interface SocketCalls {
  /**
   * The default of Linux holds some 90 full-size datagrams: a pause of 1.5 ms at 60,000 datagrams per second loses some.
   */
  raiseReceiveBuffer(socket: object): boolean;
  /** The runtime asks for the destination address and the TOS byte of every datagram (Linux), and shows them to nobody. */
  dropReceiveDetails(socket: object, family: IpFamily): boolean;
  /**
   * Datagrams are not cut up on their way (RFC 9000 §14: "UDP datagrams MUST NOT be fragmented at the IP layer"). What is too large for
   * an interface is refused with EMSGSIZE, and what ICMP says of the path changes nothing: that is proved by other means.
   */
  forbidFragments(socket: object, family: IpFamily): boolean;
  /** The default again. */
  allowFragments(socket: object, family: IpFamily): boolean;
  messageSender(socket: object, family: IpFamily): MessageSender | null;
  messageReceiver(socket: object, family: IpFamily, counts: UdpCounts): MessageReceiver | null;
}

/** <sys/socket.h>, <netinet/in.h>: levels, options and values differ between systems. */
const SYSTEMS = {
  linux: {
    libraries: ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"],
    receiveBuffer: { level: 1, option: 8 },
    // IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: IP_PMTUDISC_PROBE, or IP_PMTUDISC_WANT
    fragments: { 4: { level: 0, option: 10 }, 6: { level: 41, option: 23 }, forbidden: 3, allowed: 1 },
    // IP_PKTINFO and IP_RECVTOS, IPV6_RECVPKTINFO and IPV6_RECVTCLASS
    receiveDetails: {
      4: [
        { level: 0, option: 8 },
        { level: 0, option: 13 },
      ],
      6: [
        { level: 41, option: 49 },
        { level: 41, option: 66 },
      ],
    },
  },
  darwin: {
    libraries: ["libSystem.B.dylib"],
    receiveBuffer: { level: 0xffff, option: 0x1002 },
    // IP_DONTFRAG and IPV6_DONTFRAG
    fragments: { 4: { level: 0, option: 28 }, 6: { level: 41, option: 62 }, forbidden: 1, allowed: 0 },
    receiveDetails: { 4: [], 6: [] },
  },
} as const;

const MSG_DONTWAIT = 0x40; // on Linux

const NONE: SocketCalls = {
  raiseReceiveBuffer: () => false,
  dropReceiveDetails: () => false,
  forbidFragments: () => false,
  allowFragments: () => false,
  messageSender: () => null,
  messageReceiver: () => null,
};

/** Whether {@link Outgoing.dontFragment} has an effect on the sockets of this runtime. */
export async function canSendUnfragmented(): Promise<boolean> {
  return process.versions.bun !== undefined && (await socketCalls()) !== NONE;
}

let made: Promise<SocketCalls> | null = null;

/** Made once: loading a library costs more than a socket. */
export function socketCalls(): Promise<SocketCalls> {
  made ??= make();
  return made;
}

async function make(): Promise<SocketCalls> {
  const { platform } = process;
  if (platform !== "linux" && platform !== "darwin") return NONE;
  const system = SYSTEMS[platform];
  const ffi = await import("bun:ffi");
  const { i32, u32, ptr, i64_fast } = ffi.FFIType;
  for (const name of system.libraries) {
    try {
      const { symbols } = ffi.dlopen(name, { setsockopt: { args: [i32, i32, i32, ptr, u32], returns: i32 } });
      const sends = {
        sendmsg: { args: [i32, ptr, i32], returns: i64_fast },
        sendmmsg: { args: [i32, ptr, u32, i32], returns: i32 },
        recvmmsg: { args: [i32, ptr, u32, i32, ptr], returns: i32 },
      } as const;
      const option = new Int32Array(new ArrayBuffer(4)); // one for all calls: nobody collects it during one
      const optionAt = ffi.ptr(option);
      const sending = platform === "linux" ? ffi.dlopen(name, sends).symbols : null;
      const set = (socket: object, at: { level: number; option: number }, value: number): boolean => {
        const fd = descriptorOf(socket);
        option[0] = value;
        return fd !== null && symbols.setsockopt(fd, at.level, at.option, optionAt, 4) === 0;
      };
      let messages: MessageSystem | null = null;
      let received: ReceivingSystem | null = null;
      return {
        raiseReceiveBuffer: (socket) => raise((size) => set(socket, system.receiveBuffer, size)),
        dropReceiveDetails: (socket, family) => {
          const options = system.receiveDetails[family];
          return options.map((option) => set(socket, option, 0)).every((done) => done);
        },
        forbidFragments: (socket, family) => set(socket, system.fragments[family], system.fragments.forbidden),
        allowFragments: (socket, family) => set(socket, system.fragments[family], system.fragments.allowed),
        messageSender: (socket, family) => {
          const fd = descriptorOf(socket);
          if (!sending || fd === null) return null;
          messages ??= messageSystem(sending, new MessageMemory((bytes) => Number(ffi.ptr(bytes))));
          return new MessageSender(messages, fd, family);
        },
        messageReceiver: (socket, family, counts) => {
          const fd = descriptorOf(socket);
          if (!sending || fd === null) return null;
          received ??= receivingSystem(sending, new ReceivedMemory((bytes) => Number(ffi.ptr(bytes))));
          return new MessageReceiver(received, fd, family, counts);
        },
      };
    } catch {} // not this C library
  }
  return NONE;
}

/** sendmsg(2) and sendmmsg(2); the pointers are numbers here. */
interface SendCalls {
  sendmsg(descriptor: number, header: never, flags: number): number | bigint;
  sendmmsg(descriptor: number, headers: never, count: number, flags: number): number;
}

function messageSystem({ sendmsg, sendmmsg }: SendCalls, memory: MessageMemory): MessageSystem {
  const headers = memory.headers as never;
  const submit = (descriptor: number, messages: number): number => {
    if (messages > 1) return sendmmsg(descriptor, headers, messages, MSG_DONTWAIT);
    return Number(sendmsg(descriptor, headers, MSG_DONTWAIT)) < 0 ? 0 : 1;
  };
  return { memory, submit };
}

/** recvmmsg(2). */
interface ReceiveCalls {
  recvmmsg(descriptor: number, headers: never, count: number, flags: number, timeout: null): number;
}

function receivingSystem({ recvmmsg }: ReceiveCalls, memory: ReceivedMemory): ReceivingSystem {
  const headers = memory.headers as never;
  return { memory, take: (descriptor) => recvmmsg(descriptor, headers, MAX_MESSAGES, MSG_DONTWAIT, null) };
}

/** Null where the runtime does not tell. */
export const descriptorOf = (socket: object): number | null =>
  "fd" in socket && typeof socket.fd === "number" && socket.fd >= 0 ? socket.fd : null;

/** BSD refuses what is above its limit, where Linux takes the limit: so halve until it is accepted. */
function raise(set: (size: number) => boolean): boolean {
  for (let size = RECEIVE_BUFFER_BYTES; size >= 128 * 1024; size /= 2) if (set(size)) return true;
  return false;
}
