/** Outer images that hold one of the fixtures, made once for each pair of images. */
import { buildOuterImage } from "../../src/cli/build.js";
import { openEngine } from "../../src/dockerd/engine.js";
import { run } from "../../src/lib/exec.js";

/** The outer image under test, without a nested one. */
export const plainOuterImage = process.env["UMS_TEST_OUTER"] ?? "ums/outer:latest";

const engineAddress = "unix:///var/run/docker.sock";

/**
 * `ums build ums-fixture/NAME`; returns the tag. The tag has the ids of both images in it, so that
 * it is made again exactly when one of them changed; older ones are removed.
 */
export async function outerWithFixture(name: string): Promise<string> {
  const repository = `${plainOuterImage.replace(/:[^/]*$/, "")}-test/${name}`;
  const fixture = `ums-fixture/${name}:latest`;
  const tag = `${repository}:${await shortId(fixture)}-${await shortId(plainOuterImage)}`;
  const made = await list(["images", "--format", "{{.Repository}}:{{.Tag}}", repository]);
  if (made.includes(tag)) return tag;
  await buildOuterImage(openEngine(engineAddress), fixture, { tag, outer: plainOuterImage });
  for (const old of made) {
    await run(["docker", "rmi", old]).catch(() => {
      // A container of another run still uses it; the next change of an image removes it.
    });
  }
  return tag;
}

async function shortId(image: string): Promise<string> {
  const { stdout } = await run(["docker", "image", "inspect", "--format", "{{.Id}}", image]);
  return stdout.replace("sha256:", "").slice(0, 12);
}

async function list(argv: readonly string[]): Promise<string[]> {
  const { stdout } = await run(["docker", ...argv]);
  return stdout.split("\n").filter((line) => line !== "");
}
