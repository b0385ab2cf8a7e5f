export const greeting = (name) => `Welcome to ${name}`;
