// What the environment of the tests says. The keys are made for them and worth nothing anywhere else.

import { randomBytes } from "node:crypto";

const key = (): string => `test:${randomBytes(32).toString("base64url")}`;

Object.assign(process.env, {
  DODAI_SERVICE: "web",
  DODAI_CSRF_KEYS: key(),
  DODAI_IDENTITY_KEYS: key(),
  DODAI_PUBLIC_ORIGINS: "https://quiz.example.com",
  BACKEND_ADDR: "127.0.0.1:1",
  IDENTITY_ADDR: "127.0.0.1:1",
  REVIEW_WEBHOOK_SECRET: randomBytes(32).toString("base64url"),
  SESSION_SECRET: randomBytes(32).toString("base64url"),
  OIDC_CLIENT_SECRET: randomBytes(32).toString("base64url"),
});
