// Says hello: the smallest function.
//
//     stoker deploy hello-node examples/hello-node
//     stoker invoke hello-node --data '{"name": "you"}'

// Answers with a greeting. `event` is what was sent, parsed from JSON; what is returned is sent back as JSON.
exports.handler = async (event, context) => {
  const name = event?.name ?? "world";
  console.log(`greeting ${name}`);
  return { greeting: `Hello, ${name}!` };
};
