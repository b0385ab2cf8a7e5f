// An OpenID provider that insists on PKCE, mounted where Authentik mounts its own:
//   node oidc_provider.mjs PACKAGE PORT CLIENT_ID REDIRECT_URI        (the client's secret comes in OIDC_CLIENT_SECRET)
import { createServer } from "node:http";

const [entry, port, clientId, redirectUri] = process.argv.slice(2);
const { Provider } = await import(entry);
const mount = "/application/o/quiz";
const provider = new Provider(`http://127.0.0.1:${port}${mount}`, {
  clients: [
    {
      client_id: clientId,
      client_secret: process.env.OIDC_CLIENT_SECRET,
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  pkce: { required: () => true },
  cookies: { keys: ["only for a test"] },
  claims: { openid: ["sub"], profile: ["name"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: `${id} of node` }) }),
});
const serve = provider.callback();

createServer((request, response) => {
  if (!request.url.startsWith(mount)) {
    response.writeHead(404).end();
    return;
  }
  request.originalUrl = request.url;
  request.url = request.url.slice(mount.length) || "/";
  serve(request, response);
}).listen(Number(port), "127.0.0.1");
