/** Who may do what here, put together from the configuration, the certificates and the state. */
import { join } from "node:path";
import type { Config } from "../config.js";
import { authenticateBy } from "../grpc/identity.js";
import type { RoleRules } from "../grpc/roles.js";
import { matcherOf } from "../lib/patterns.js";
import { type Admit, createAdmission } from "../migration/admission.js";
import type { IdentityStore } from "../peer/identity.js";
import { createTokens, type Tokens } from "../peer/token.js";
import { openTokenKey } from "../peer/token-key.js";

export interface Authorisation {
  admit: Admit;
  roles: RoleRules;
  issueToken: Tokens["issue"];
}

export async function openAuthorisation(
  config: Config,
  identity: IdentityStore,
): Promise<Authorisation> {
  // Beside the journal: only who remembers which tokens were used can verify one.
  const key = await openTokenKey(join(config.UMS_STATE_DIR, "token-key"));
  const tokens = createTokens({ key, ownName: () => identity.current().self.name });
  return {
    admit: createAdmission({ isAllowed: matcherOf(config.UMS_ALLOW_FROM), tokens }),
    roles: {
      authenticate: authenticateBy(identity),
      isOperatorAllowed: matcherOf(config.UMS_ALLOW_OPERATORS),
    },
    issueToken: tokens.issue,
  };
}
