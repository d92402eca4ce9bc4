/** Response schemas of a route: its own answers, and the errors it may give. */
import { type TSchema, Type } from "@sinclair/typebox";
import { problemSchema } from "./schemas.js";

/** Every route that is not public may also answer these. */
const always = [401, 403, 429, 500];

const meanings: Record<number, string> = {
  400: "The request cannot be used.",
  401: "Neither a certificate nor a token that is trusted.",
  403: "Not allowed.",
  404: "No such thing.",
  409: "Something else is in the way.",
  413: "Too large.",
  422: "Not possible here.",
  429: "Too many requests.",
  500: "A bug.",
  502: "The orchestrator refused, or a tool failed.",
  503: "Something that must answer does not.",
  504: "It took too long.",
};

export function responses(own: Record<number, TSchema>, ...problems: number[]) {
  const errors = [...always, ...problems].map((status) => [
    status,
    {
      description: meanings[status] ?? "",
      content: { "application/problem+json": { schema: Type.Ref(problemSchema.$id ?? "") } },
    },
  ]);
  return { ...own, ...Object.fromEntries(errors) } as Record<number, unknown>;
}

export const nothing = Type.Null({ description: "No content." });
