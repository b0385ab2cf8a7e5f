// What the environment says, read once. No secret has a default: a missing name stops the start.

export interface Settings {
  readonly backend: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly sessionKeys: readonly string[];
  readonly webhookKeys: readonly string[];
  readonly origins: readonly string[];
}

let read: Settings | undefined;

export function settings(): Settings {
  read ??= {
    backend: needed("BACKEND_ADDR"),
    issuer: process.env.OIDC_ISSUER?.replace(/\/+$/, "") || `http://${needed("IDENTITY_ADDR")}/application/o/quiz`,
    clientId: process.env.OIDC_CLIENT_ID || "quiz",
    clientSecret: needed("OIDC_CLIENT_SECRET"),
    sessionKeys: values(needed("SESSION_SECRET")),
    webhookKeys: values(needed("REVIEW_WEBHOOK_SECRET")),
    origins: values(process.env.DODAI_PUBLIC_ORIGINS ?? ""),
  };
  return read;
}

function needed(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") throw new Error(`\`${name}\` is not set`);
  return value;
}

function values(text: string): string[] {
  return text.split(",").filter(Boolean);
}
