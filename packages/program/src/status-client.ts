import { get } from "node:http";
import type { Logger, SocketAddress } from "@adit/core";
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
  /** Hears why a check is not met. */
  readonly log: Logger;
}

const sessionsSchema = z.object({
  sessions: z.array(z.object({ path: z.string(), local: z.string().nullish(), reason: z.string() })),
});

/**
 * What the `status` subcommands do. Exit status 0, or 1 when the check is not met: `ready` is a 200 of `/healthz`, `direct`
 * is at least one session and all of them on direct paths.
 * @throws ExitError `failure` when no program answers.
 */
export async function showStatus(request: StatusRequest): Promise<number> {
  const { body } = await ask(request, "/status");
  const status: unknown = parseJson(request, body);
  request.print(request.json ? body : inWords(request, status));
  const why = await failureOf(request, status);
  if (why === null) return 0;
  request.log.warn("check-failed", { check: request.check, message: `not ${request.check}: ${why}` });
  return 1;
}

function inWords(request: StatusRequest, status: unknown): string {
  try {
    return request.words(status);
  } catch (cause) {
    throw new ExitError("failure", anotherAnswers(request), { cause });
  }
}

/** Why the check is not met, or null. */
async function failureOf(request: StatusRequest, status: unknown): Promise<string | null> {
  if (request.check === undefined) return null;
  if (request.check === "direct") return whyNotDirect(status);
  const { code, body } = await ask(request, "/healthz");
  return code === 200 ? null : `/healthz answers ${code}: ${body.trim()}`;
}

function whyNotDirect(status: unknown): string | null {
  const parsed = sessionsSchema.safeParse(status);
  if (!parsed.success) return "this program has no sessions of its own";
  const { sessions } = parsed.data;
  if (sessions.length === 0) return "there is no session";
  const other = sessions.find(({ path }) => path !== "direct");
  if (other) return `a session's path is ${other.path} (${other.reason})`;
  // It was direct until a moment ago, and nothing carries it now: suspended, unless a path answers.
  const silent = sessions.find(({ local }) => local === null);
  return silent ? `no path carries a session (${silent.reason})` : null;
}

function parseJson(request: StatusRequest, body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new ExitError("failure", anotherAnswers(request), { cause });
  }
}

const anotherAnswers = ({ program, admin }: StatusRequest): string =>
  `what answers at ${admin.key} is no ${program}; is --admin right?`;

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
