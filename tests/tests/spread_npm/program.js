// A program of its own with somebody else's client library: joins a group, sends there each line of its standard input,
// and prints each message that comes as a line of JSON.
const [port, name, group] = process.argv.slice(2);
const session = require('spread').createConnection(name, Number(port), '127.0.0.1');
const say = (word, value) => console.log(JSON.stringify([word, value]));

session.on('error', (error) => { throw error; });
session.on('message', (to, message) => say(to, message));
session.on('logined', () => {
  session.join(group);
  say('in', name);
  require('readline').createInterface({ input: process.stdin })
    .on('line', (line) => session.send(line, group))
    .on('close', () => process.exit(0));
});
