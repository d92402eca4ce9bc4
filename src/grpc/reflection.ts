/** Server reflection, so that grpcurl and the like can call without our files. */
import { fileURLToPath } from "node:url";
import type { Server } from "@grpc/grpc-js";
import { load } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";

/** The `.proto` files as this package ships them, beside `dist/`. */
const protoDir = fileURLToPath(new URL("../../../proto", import.meta.url));
const entryFiles = ["ums/migration/v1/migration.proto", "ums/migration/v1/peer.proto"];

export async function addReflection(server: Server): Promise<void> {
  const definition = await load(entryFiles, { includeDirs: [protoDir] });
  new ReflectionService(definition).addToServer(server);
}
