import { get } from "node:http";
import type { SocketAddress } from "@adit/core";
import { z } from "zod";
import { ExitError, sentenceOf } from "./exit.ts";

const TIMEOUT_MS = 5000;
/** No answer of ours is longer, bytes. */
const ANSWER_LIMIT = 16 * 1024 * 1024;

export type StatusCheck = "direct" | "ready";

export interface StatusRequest {
  /** The program that is asked: `adit-agent`. */
  readonly program: string;
  readonly admin: SocketAddress;
  /** Print the JSON of `GET /status` as it is. */
  readonly json: boolean;
  readonly check?: StatusCheck;
  /** The status in words. */
  readonly words: (status: unknown) => string;
  readonly print: (text: string) => void;
}

const sessionsSchema = z.object({ sessions: z.array(z.object({ path: z.string() })) });

/**
 * What the `status` subcommands do. Exit status 0, or 1 when the check is not met: `ready` is a 200 of `/healthz`, `direct`
 * is at least one session and all of them on direct paths.
 * @throws ExitError `failure` when no program answers.
 */
export async function showStatus(request: StatusRequest): Promise<number> {
  const { body } = await ask(request, "/status");
  const status: unknown = parseJson(request, body);
  request.print(request.json ? body : request.words(status));
  if (request.check === undefined) return 0;
  const met = request.check === "ready" ? (await ask(request, "/healthz")).code === 200 : isDirect(status);
  return met ? 0 : 1;
}

function isDirect(status: unknown): boolean {
  const parsed = sessionsSchema.safeParse(status);
  const sessions = parsed.success ? parsed.data.sessions : [];
  return sessions.length > 0 && sessions.every(({ path }) => path === "direct");
}

function parseJson({ program, admin }: StatusRequest, body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new ExitError("failure", `what answers at ${admin.key} is no ${program}`, { cause });
  }
}

function ask({ program, admin }: StatusRequest, path: string): Promise<{ code: number; body: string }> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      const message = `no ${program} answers at ${admin.key} (${sentenceOf(error)}); is it running, and is --admin the same?`;
      reject(new ExitError("failure", message, { cause: error }));
    };
    const request = get({ host: admin.ip, port: admin.port, path, agent: false, timeout: TIMEOUT_MS }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
        if (body.length > ANSWER_LIMIT) request.destroy(new Error("the answer is too long"));
      });
      response.on("error", fail);
      response.on("end", () => resolve({ code: response.statusCode ?? 0, body }));
    });
    request.on("timeout", () => request.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    request.on("error", fail);
  });
}
