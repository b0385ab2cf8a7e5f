// A server-rendered page over a gRPC backend; knows nothing of what runs it but its own variables.
import { createServer } from "node:http";
import { connect } from "node:http2";

import { greeting } from "greeting";

const backend = connect(`http://${process.env.BACKEND_GRPC_ADDRESS}`);

// A unary call with an empty message; the answer is one string field, cut out by hand.
function orders(method) {
  return new Promise((resolve, reject) => {
    const call = backend.request({
      ":method": "POST",
      ":path": `/shop.Orders/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const parts = [];
    call.on("data", (part) => parts.push(part));
    call.on("end", () => resolve(Buffer.concat(parts).subarray(5).toString()));
    call.on("error", reject);
    call.end(Buffer.alloc(5));
  });
}

const page = (body) => `<!doctype html><title>shop</title><h1>${greeting("the shop")}</h1>${body}`;

createServer(async (request, response) => {
  try {
    const signedIn = /session=1/.test(request.headers.cookie ?? "");
    if (request.url === "/orders" && request.method === "POST") {
      if (!signedIn) return response.writeHead(302, { location: "/" }).end();
      return response.end(page(`<p>${await orders("Place")} orders</p>`));
    }
    response.setHeader("set-cookie", "session=1; Path=/; Secure; HttpOnly; SameSite=Lax");
    response.end(page(`<p>${await orders("Count")} orders</p><form method="post" action="/orders"><button>Order</button></form>`));
  } catch (error) {
    response.writeHead(502).end(String(error));
  }
}).listen(Number(process.env.PORT), "127.0.0.1");
