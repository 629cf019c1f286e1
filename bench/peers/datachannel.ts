/** node-datachannel (libdatachannel): one ordered, reliable data channel. Offer and answer go over a TCP connection. */
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { type DataChannel, PeerConnection } from "node-datachannel";
import { type Job, runPeer } from "../lib/role.ts";
import { SinkMeter, tell } from "../lib/sink.ts";

const CHUNK = 64 * 1024;
/** As much waits in the channel as lets it work without a pause. */
const HIGH_WATER = 4 * 1024 * 1024;

/** The description goes over when it has all its candidates: one that came before it would be an error. */
function signal(peer: PeerConnection, socket: Socket): void {
  peer.onGatheringStateChange((state) => {
    if (state === "complete") socket.write(`${JSON.stringify(peer.localDescription())}\n`);
  });
  createInterface(socket).on("line", (line) => {
    const { sdp, type } = JSON.parse(line);
    peer.setRemoteDescription(sdp, type);
  });
}

const makePeer = (name: string): PeerConnection =>
  new PeerConnection(name, { iceServers: [], bindAddress: "127.0.0.1", maxMessageSize: CHUNK });

/** The library lets go of what nobody holds. */
const kept: DataChannel[] = [];

async function receive(bytes: number): Promise<void> {
  const meter = new SinkMeter();
  const server = createServer((socket) => {
    const peer = makePeer("receiver");
    peer.onDataChannel((channel) => {
      kept.push(channel);
      channel.onMessage((message) => {
        meter.take(typeof message === "string" ? message.length : message.byteLength);
        if (meter.bytes >= bytes) tell(meter.result());
      });
    });
    signal(peer, socket);
  });
  server.listen(0, "127.0.0.1", () => tell({ ready: String((server.address() as { port: number }).port) }));
}

async function send({ contact, bytes }: Job): Promise<void> {
  const socket = connect(Number(contact), "127.0.0.1");
  const peer = makePeer("sender");
  signal(peer, socket);
  const channel = peer.createDataChannel("bench");
  kept.push(channel);
  const chunk = Buffer.alloc(CHUNK, 0x61);
  let left = bytes;
  const pump = (): void => {
    while (left > 0 && channel.bufferedAmount() < HIGH_WATER) {
      channel.sendMessageBinary(left < CHUNK ? chunk.subarray(0, left) : chunk);
      left -= Math.min(left, CHUNK);
    }
  };
  channel.setBufferedAmountLowThreshold(HIGH_WATER / 2);
  channel.onBufferedAmountLow(pump);
  channel.onOpen(pump);
}

await runPeer({ receive, send });
