import { createCookieSessionStorage } from "@remix-run/node";

const secret = process.env.SESSION_SECRET;
if (!secret) throw new Error("SESSION_SECRET is not set");

export const sessions = createCookieSessionStorage({
  cookie: { name: "session", path: "/", httpOnly: true, sameSite: "lax", secure: true, secrets: [secret] },
});
