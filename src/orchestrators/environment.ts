/** Variables of outer containers, as lists of `NAME=value` and as parts of a specification. */
import { defaultHttpPort, defaultPeerPort } from "./platform.js";
import type { WorkloadSpec } from "./workload.js";

export interface Variable {
  name: string;
  value: string;
}

/** Set anew at every destination. */
const platformVariables: readonly string[] = ["UMS_START_MODE", "UMS_ALLOW_FROM"];

/**
 * The service's user and a read-only root are told to the supervisor, which needs root and a root
 * file system it can write (docs/decisions/0002-nested-user-outer-root.md).
 */
const userVariable = "UMS_USER";
const readOnlyVariable = "UMS_READ_ONLY";

const portVariables = ["UMS_PEER_PORT", "UMS_HTTP_PORT", "UMS_DATA_PORT"];

/**
 * The variables of a new outer container: the specification's, then what is ours.
 * @param firstPort of the supervisor, where it is published (platform.ts)
 */
export function outerVariables(
  spec: WorkloadSpec,
  startMode: "active" | "passive",
  firstPort?: number,
): Variable[] {
  return [
    ...spec.env.filter(({ name }) => name !== "UMS_START_MODE"),
    ...(spec.user === undefined ? [] : [{ name: userVariable, value: spec.user }]),
    ...(spec.isReadOnlyRoot ? [{ name: readOnlyVariable, value: "true" }] : []),
    { name: "UMS_START_MODE", value: startMode },
    ...(firstPort === undefined ? [] : publishedVariables(firstPort)),
  ];
}

function publishedVariables(firstPort: number): Variable[] {
  return portVariables.map((name, index) => ({ name, value: `${firstPort + index}` }));
}

/** The other way round: what an outer container's variables say of its service. */
export function serviceVariables(
  variables: readonly Variable[],
  firstPort?: number,
): Pick<WorkloadSpec, "env" | "user" | "isReadOnlyRoot"> {
  const last = (name: string) => variables.findLast((variable) => variable.name === name)?.value;
  const user = last(userVariable);
  const taken = [...platformVariables, userVariable, readOnlyVariable];
  const ours = firstPort === undefined ? [] : publishedVariables(firstPort).map(formatVariable);
  return {
    env: variables.filter(
      (variable) => !taken.includes(variable.name) && !ours.includes(formatVariable(variable)),
    ),
    ...(user === undefined || user === "" ? {} : { user }),
    isReadOnlyRoot: last(readOnlyVariable) === "true",
  };
}

/** Ports of the supervisor in its container. */
export function supervisorPorts(variables: readonly Variable[]): {
  peerPort: number;
  httpPort: number;
} {
  const port = (name: string, otherwise: number) =>
    Number(variables.findLast((variable) => variable.name === name)?.value) || otherwise;
  return {
    peerPort: port("UMS_PEER_PORT", defaultPeerPort),
    httpPort: port("UMS_HTTP_PORT", defaultHttpPort),
  };
}

/** `NAME=value`; without `=` it is a variable with no value. */
export function parseVariable(text: string): Variable {
  const at = text.indexOf("=");
  return at < 0
    ? { name: text, value: "" }
    : { name: text.slice(0, at), value: text.slice(at + 1) };
}

export function formatVariable({ name, value }: Variable): string {
  return `${name}=${value}`;
}
