/** Puts a Coordinator together: config, records, driver, policies, API. */
import { join } from "node:path";
import { UmsError } from "../errors.js";
import { createBoot } from "../lib/boot.js";
import type { Logger } from "../lib/log.js";
import { umsVersion } from "../lib/version.js";
import type { Orchestrator } from "../orchestrators/contract.js";
import { type IdentityStore, openIdentity } from "../peer/identity.js";
import { openApi } from "./api/server.js";
import { createArrivals } from "./arrivals/arrivals.js";
import type { ArrivalRecord } from "./arrivals/record.js";
import type { CoordinatorConfig } from "./config.js";
import { evacuatePolicy, firstOf, requestPolicy } from "./decisions/contract.js";
import { createEvacuations } from "./decisions/evacuations.js";
import { defaultWaits, type Waits } from "./migrations/attempt.js";
import { createMigrations } from "./migrations/migrations.js";
import type { MigrationRecord } from "./migrations/record.js";
import { connectOuterContainers, type OuterContainers } from "./outer.js";
import { connectPeerCoordinators } from "./peers.js";
import { createSurvey } from "./plan/survey.js";
import { openStore } from "./store.js";

export interface CoordinatorOptions {
  config: CoordinatorConfig;
  log: Logger;
  openOrchestrator(): Promise<Orchestrator>;
  /** For tests: default the gRPC client. */
  outer?: OuterContainers;
  waits?: Partial<Waits>;
}

export interface Coordinator {
  /** Of the API and the page. */
  url: string;
  close(): Promise<void>;
}

const openDriverMs = 30_000;
const openStoreMs = 30_000;
const listenMs = 10_000;
const resumeMs = 60_000;
const expireIntervalMs = 60_000;

/** Boot order, top to bottom; everything opened is closed in reverse. */
export async function openCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const boot = createBoot(options.log);
  try {
    return await open(options, boot);
  } catch (error) {
    await boot.close();
    throw error;
  }
}

async function open(
  options: CoordinatorOptions,
  boot: ReturnType<typeof createBoot>,
): Promise<Coordinator> {
  const { config, log } = options;
  const { system, stateDir, outerTls, allowedBinds } = config;
  const identity = readIdentity(config, log);
  const records = await boot.step("read the records", openStoreMs, () =>
    openStore<MigrationRecord>(join(stateDir, "migrations"), log),
  );
  const arrivalRecords = await boot.step("read the arrivals", openStoreMs, () =>
    openStore<ArrivalRecord>(join(stateDir, "arrivals"), log),
  );
  const orchestrator = await boot.step("open the driver", openDriverMs, options.openOrchestrator);
  boot.onClose("driver", () => orchestrator.close());

  const outer = options.outer ?? connectOuterContainers(() => needIdentity(identity));
  // In insecure mode Coordinators know each other by what they say.
  const peers = connectPeerCoordinators(config.systems, {
    system,
    identity: config.isInsecure ? undefined : identity,
  });
  const survey = createSurvey({ orchestrator, outer, peers });
  const waits = { ...defaultWaits, ...options.waits };
  const arrivals = createArrivals({
    store: arrivalRecords,
    orchestrator,
    outer,
    outerTls,
    allowedBinds,
    log,
  });
  boot.onClose("arrivals", () => arrivals.close());
  const common = { system, orchestrator, outer, peers, survey, log };
  const migrations = createMigrations({ ...common, store: records, waits });
  boot.onClose("migrations", () => migrations.close());
  const decide = firstOf([requestPolicy, evacuatePolicy]);
  const evacuations = createEvacuations({ orchestrator, outer, migrations, decide, log });

  arrivals.resume();
  await boot.step("carry on", resumeMs, () => migrations.resume());
  const expiry = setInterval(() => {
    arrivals.expire().catch((error) => log.error({ err: error }, "forgotten arrivals stay"));
  }, expireIntervalMs);
  boot.onClose("expiry", () => clearInterval(expiry));

  const api = await boot.step("open the API", listenMs, () =>
    openApi({
      ...common,
      migrations,
      arrivals,
      evacuations,
      decide,
      version: umsVersion(),
      brokenRecords: [...records.broken, ...arrivalRecords.broken],
      listen: config.listen,
      identity: config.isInsecure ? undefined : identity,
      tokenFile: config.tokenFile,
    }),
  );
  boot.onClose("API", () => api.close());
  return { url: api.url, close: () => boot.close() };
}

/** @throws ERR_PKI, ERR_CONFIG_INVALID when the certificate is not this Coordinator's */
function readIdentity(config: CoordinatorConfig, log: Logger): IdentityStore | undefined {
  const { system, tlsDir, isInsecure } = config;
  try {
    const store = openIdentity(tlsDir, {
      onReloadFailed: (error) => log.error({ code: error.code }, error.message),
    });
    const { role, name } = store.current().self;
    if (role === "operator" && name === system) return store;
    throw new UmsError(
      "ERR_CONFIG_INVALID",
      `the certificate in ${tlsDir} is that of ${role} ${name}, not of operator ${system}`,
      { hint: `make it with: ums pki issue ${system} --operator` },
    );
  } catch (thrown) {
    if (!isInsecure) throw thrown;
    const { message } = UmsError.from(thrown);
    log.warn({ reason: message }, "insecure and without certificates: nothing can be migrated");
    return undefined;
  }
}

function needIdentity(identity: IdentityStore | undefined): IdentityStore {
  if (identity !== undefined) return identity;
  throw new UmsError("ERR_PKI", "this Coordinator has no certificate to show to outer containers", {
    hint: "ums pki issue SYSTEM --operator; then UMS_COORDINATOR_TLS_DIR",
  });
}
