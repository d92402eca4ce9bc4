import { type CallOptions, type Client, Metadata, type ServiceError } from "@grpc/grpc-js";
import { fromServiceError } from "../peer/grpc-status.js";

const callTimeoutMs = 10_000;

/** One unary call of a verb; closes the client. @throws the supervisor's own error */
export async function callSupervisor<A>(
  client: Client,
  name: string,
  call: (
    options: [Metadata, Partial<CallOptions>],
    done: (error: ServiceError | null, answer: A) => void,
  ) => void,
): Promise<A> {
  try {
    return await new Promise<A>((resolve, reject) => {
      call([new Metadata(), { deadline: Date.now() + callTimeoutMs }], (error, answer) => {
        if (error === null) resolve(answer);
        else reject(fromServiceError(error, name));
      });
    });
  } finally {
    client.close();
  }
}
