import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const address = process.env.BACKEND_GRPC_ADDRESS;
if (!address) throw new Error("BACKEND_GRPC_ADDRESS is not set");

const definition = grpc.loadPackageDefinition(loadSync("proto/orders.proto", { longs: String, defaults: true })) as any;
const orders = new definition.shop.Orders(address, grpc.credentials.createInsecure());

export function call(method: "Place" | "Count"): Promise<string> {
  return new Promise((resolve, reject) => {
    orders[method]({}, (error: Error | null, answer: { value: string }) => (error ? reject(error) : resolve(answer.value)));
  });
}
