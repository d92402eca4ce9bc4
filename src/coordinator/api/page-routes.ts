/** The page for people, at `/`: static files. Its scripts bring the API token. */
import { fileURLToPath } from "node:url";
import fastifyStatic from "@fastify/static";
import type { FastifyInstance } from "fastify";

/** Not compiled, so beside `dist/` and not in it. */
const root = fileURLToPath(new URL("../../../../src/coordinator/page/", import.meta.url));

const headers = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

export async function pageRoutes(app: FastifyInstance): Promise<void> {
  app.addHook("onSend", async (_, reply) => {
    reply.headers(headers);
  });
  // The plugin makes its routes itself; it is the last to make some.
  app.addHook("onRoute", (route) => {
    route.config = { ...route.config, access: "public" };
  });
  await app.register(fastifyStatic, {
    root,
    index: "index.html",
    dotfiles: "deny",
    // A route for each file that is there now; everything else is the API's 404.
    wildcard: false,
    cacheControl: false,
    schemaHide: true,
  });
}
