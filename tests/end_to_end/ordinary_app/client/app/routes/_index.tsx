import { json, type LoaderFunctionArgs } from "@remix-run/node";
import { Form, useLoaderData } from "@remix-run/react";

import { call } from "../services/backend.server";
import { sessions } from "../services/session.server";

export async function loader({ request }: LoaderFunctionArgs) {
  const session = await sessions.getSession(request.headers.get("cookie"));
  session.set("signedIn", true);
  const placed = session.get("placed") ?? 0;
  const headers = { "set-cookie": await sessions.commitSession(session) };
  return json({ count: await call("Count"), placed }, { headers });
}

export default function Home() {
  const { count, placed } = useLoaderData<typeof loader>();
  return (
    <main>
      <h1>Welcome to the shop</h1>
      <p>{`${count} orders, ${placed} of them yours`}</p>
      <Form method="post" action="/orders">
        <button>Order</button>
      </Form>
    </main>
  );
}
