// What this process is told: the environment variables that the Python side reads, and the manifest's sections as JSON.

import { readFileSync } from "node:fs";

import type { Mode } from "./decision.js";
import { type IdentityKeys, parseIdentityKeys } from "./identity.js";
import { SettingError } from "./token.js";

/**
 * Routes that are not checked, as in `[[csrf.exemption]]`; `expires` is the last ISO day on which it holds. With
 * `when: "bearer"` it is for requests without any cookie and with a bearer token, and a route may end in `*`.
 */
export interface Exemption {
  readonly route?: string;
  /** The only service in which it holds; in every one without it, as an application passes it for itself. */
  readonly service?: string;
  readonly routes?: readonly string[];
  readonly when?: "always" | "bearer";
  readonly reason?: string;
  readonly owner?: string;
  readonly control?: string;
  readonly expires?: string;
}

/** The part of the manifest that a web tier needs: `DODAI_SETTINGS`, or what the application passes itself. */
export interface Sections {
  readonly csrf?: {
    readonly mode?: Mode;
    readonly field?: string;
    readonly header?: string;
    readonly max_age?: number;
    readonly search?: number;
    readonly search_timeout?: number;
    readonly session_cookie?: string;
    readonly trusted_origins?: readonly string[];
    readonly exemption?: readonly Exemption[];
  };
  readonly dependency?: Readonly<Record<string, DependencySection>>;
  readonly observability?: {
    readonly user_id?: "raw" | "hmac";
    readonly client_ip?: "network" | "none";
    readonly slow_call?: number;
    readonly sample?: number;
  };
}

export interface DependencySection {
  readonly deadline?: number;
  readonly breaker_failures?: number;
  readonly breaker_reset?: number;
}

export interface Settings {
  readonly service: string;
  readonly env: string;
  readonly release: string;
  readonly instance: string;
  readonly state: string;
  readonly edgeKeyFile: string;
  /** Keys that a vendor's edge sends: then `healthPath` is asked without one. */
  readonly edgeKeys: readonly Buffer[];
  readonly healthPath: string;
  readonly csrfKeys: string;
  readonly identityKeys: IdentityKeys;
  readonly origins: readonly string[];
  readonly sections: Sections;
}

/** The settings of this process; throws DOD480 when they cannot be used. */
export function readSettings(environ: NodeJS.ProcessEnv = process.env): Settings {
  const identityKeys = parseIdentityKeys(environ.DODAI_IDENTITY_KEYS ?? "");
  const sections = parseSections(environ.DODAI_SETTINGS ?? "");
  if (sections.observability?.user_id === "hmac" && identityKeys.length === 0)
    throw new SettingError(
      "DOD480",
      '`[observability] user_id = "hmac"` needs keys and `DODAI_IDENTITY_KEYS` is not set',
      "set `DODAI_IDENTITY_KEYS` for this service",
    );
  return {
    service: environ.DODAI_SERVICE || "app",
    env: environ.DODAI_ENV ?? "",
    release: environ.DODAI_RELEASE ?? "",
    instance: environ.DODAI_INSTANCE ?? "",
    state: environ.DODAI_STATE ?? "",
    edgeKeyFile: checkedKeyFile(environ.DODAI_EDGE_KEY_FILE ?? ""),
    edgeKeys: checkedKeys(environ.DODAI_EDGE_KEY),
    healthPath: environ.DODAI_HEALTH_PATH ?? "",
    csrfKeys: environ.DODAI_CSRF_KEYS ?? "",
    identityKeys,
    origins: listed(environ.DODAI_PUBLIC_ORIGINS),
    sections,
  };
}

function parseSections(text: string): Sections {
  if (text === "") return {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return parsed;
  } catch {
    // answered below, without the text
  }
  throw new SettingError("DOD480", "`DODAI_SETTINGS` is not a JSON object", "let dodai start the service, or remove it");
}

function listed(value = ""): readonly string[] {
  return value.split(",").map((each) => each.trim()).filter(Boolean);
}

function checkedKeys(value: string | undefined): readonly Buffer[] {
  const keys = listed(value);
  if (value !== undefined && keys.length === 0)
    throw new SettingError(
      "DOD480",
      "`DODAI_EDGE_KEY`: it is set and has no key",
      "correct `DODAI_EDGE_KEY` and start the service again",
    );
  if (keys.some((key) => !isEdgeKey(key)))
    throw new SettingError(
      "DOD480",
      `\`DODAI_EDGE_KEY\`: one of its keys can be guessed or sent by nobody; a key has ${KEY_FORM}`,
      "correct `DODAI_EDGE_KEY` and start the service again",
    );
  return keys.map((key) => Buffer.from(key));
}

/** What an edge key has; a comment in a file, or what anybody could guess, is none. */
export const KEY_FORM = "at least 16 characters, without white space";

export function isEdgeKey(text: string): boolean {
  return /^[!-"$-~][!-~]{15,}$/.test(text);
}

function checkedKeyFile(path: string): string {
  if (path === "") return "";
  let content = "";
  try {
    content = readFileSync(path, "utf8");
  } catch (error) {
    throw new SettingError(
      "DOD480",
      `\`DODAI_EDGE_KEY_FILE\`: \`${path}\` cannot be read: ${(error as NodeJS.ErrnoException).code ?? "unreadable"}`,
      "correct `DODAI_EDGE_KEY_FILE` and start the service again",
    );
  }
  if (!content.split("\n").some((line) => isEdgeKey(line.trim())))
    throw new SettingError(
      "DOD480",
      `\`DODAI_EDGE_KEY_FILE\`: \`${path}\` has no key; a key has ${KEY_FORM}`,
      "correct `DODAI_EDGE_KEY_FILE` and start the service again",
    );
  return path;
}
