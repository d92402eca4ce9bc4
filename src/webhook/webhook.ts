/**
 * Tells a URL, by a signed POST, where a service is now. For whatever is not a name server: a load
 * balancer, a service registry, a cloud's DNS API behind a small function.
 */
import { createHmac } from "node:crypto";
import { got, HTTPError, type RequestError } from "got";
import { UmsError } from "../errors.js";

/** The body, as JSON. docs/dns.md describes each field for those who write receivers. */
export interface WebhookBody {
  /** What people call the service. */
  service: string;
  serviceId: string;
  migrationId: string;
  /** DNS name, where one is configured. */
  name: string | null;
  /** Migration Interface of where it was and where it is, `host:port`. */
  from: string;
  to: string;
  /** Addresses at which clients reach it now. */
  endpoint: string[];
  /** e.g. `6379/tcp`. */
  ports: string[];
}

export interface WebhookOptions {
  url: string;
  secret: string;
  /** Of one try. Default 10,000. */
  timeoutMs?: number;
  /** Repeats after the first try. Default 4. */
  retries?: number;
  /** First pause; doubles up to ten times as much. Default 1,000. */
  pauseMs?: number;
  signal?: AbortSignal | undefined;
}

const maxAnswerBytes = 64 * 1024;
const repeated = [408, 425, 429, 500, 502, 503, 504];

/**
 * Posts until the receiver answers with 2xx, in a bounded number of tries. All tries of one
 * migration carry the same `Idempotency-Key`, and a signature of their own time.
 * @throws ERR_WEBHOOK_FAILED, ERR_CANCELLED
 */
export async function callWebhook(body: WebhookBody, options: WebhookOptions): Promise<void> {
  const { url, secret, timeoutMs = 10_000, retries = 4, pauseMs = 1_000, signal } = options;
  const text = JSON.stringify(body);
  const request = got.post(url, {
    body: text,
    headers: {
      "content-type": "application/json",
      "idempotency-key": body.migrationId,
      "user-agent": "ums",
    },
    // The answer to a POST that was redirected would be a GET's.
    followRedirect: false,
    timeout: { request: timeoutMs },
    retry: {
      limit: retries,
      methods: ["POST"],
      statusCodes: repeated,
      backoffLimit: pauseMs * 10,
      maxRetryAfter: 60_000,
      calculateDelay: ({ computedValue, attemptCount, retryAfter }) =>
        computedValue === 0 || retryAfter !== undefined
          ? computedValue
          : Math.min(pauseMs * 2 ** (attemptCount - 1), pauseMs * 10),
    },
    hooks: {
      beforeRequest: [
        ({ headers }) => {
          headers["ums-signature"] = signatureOf(text, secret, Math.floor(Date.now() / 1000));
        },
      ],
    },
    ...(signal === undefined ? {} : { signal }),
  });
  request.on("downloadProgress", ({ transferred }: { transferred: number }) => {
    if (transferred > maxAnswerBytes) request.cancel("the answer is too long");
  });
  try {
    const { statusCode } = await request;
    if (statusCode < 200 || statusCode > 299) throw failed(url, `answered ${statusCode}`);
  } catch (thrown) {
    if (signal?.aborted) throw new UmsError("ERR_CANCELLED", "cancelled");
    if (thrown instanceof UmsError) throw thrown;
    const error = thrown as RequestError;
    const reason =
      error instanceof HTTPError ? `answered ${error.response.statusCode}` : error.message;
    // Not as the cause: got's errors carry the request, and with it the signature.
    throw failed(url, reason);
  }
}

/** `t=SECONDS,v1=HEX`: HMAC-SHA-256 of `SECONDS.BODY`, so that an old call cannot be repeated. */
export function signatureOf(body: string, secret: string, nowSeconds: number): string {
  const mac = createHmac("sha256", secret).update(`${nowSeconds}.${body}`).digest("hex");
  return `t=${nowSeconds},v1=${mac}`;
}

/** Credentials and tokens may stand in a URL: only its origin and path are told. */
function failed(url: string, reason: string): UmsError {
  const { origin, pathname } = new URL(url);
  return new UmsError("ERR_WEBHOOK_FAILED", `${origin}${pathname}: ${reason}`, {
    details: { receiver: `${origin}${pathname}` },
  });
}
