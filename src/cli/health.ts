import type { Command } from "commander";
import { got } from "got";
import { loadConfig } from "../config.js";
import type { CliContext } from "./program.js";

const timeoutMs = 4_000;

/** `ums health`: the outer image's HEALTHCHECK. Exit code 0 healthy, 1 not, as Docker wants it. */
export function registerHealth(program: Command, context: CliContext): void {
  program
    .command("health")
    .description("tell whether the nested service is healthy")
    .action(async () => {
      const { UMS_HTTP_PORT } = loadConfig(context.env);
      try {
        const { statusCode, body } = await got(`http://127.0.0.1:${UMS_HTTP_PORT}/health`, {
          timeout: { request: timeoutMs },
          retry: { limit: 0 },
          throwHttpErrors: false,
        });
        process.stdout.write(body);
        context.setExitCode(statusCode === 200 ? 0 : 1);
      } catch (error) {
        process.stdout.write(`supervisor does not answer: ${(error as Error).message}\n`);
        context.setExitCode(1);
      }
    });
}
