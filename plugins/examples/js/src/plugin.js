// The policy `members`, as ../README.md specifies it.
import { HeaderChange, Mistakes, deny, policy, proceed, redirect, respond } from "wasmserve-plugin";
import { encode } from "wasmserve-plugin/path";

const KEYS = ["prefix", "members", "office", "closes", "pace", "shared"];

class Members {
  /** @param {import("wasmserve-plugin").Config} config */
  constructor(config) {
    config.only(KEYS);
    const mistakes = new Mistakes();
    this.prefix = config.required("prefix");
    mistakes.checkPrefixes("prefix", [this.prefix]);
    this.members = members(config, mistakes);
    this.office = config.strings("office") ?? [];
    mistakes.checkNetworks("office", this.office);
    this.closes = whole(config, "closes");
    this.pace = whole(config, "pace");
    this.shared = config.boolean("shared") ?? false;
    mistakes.check();
    this.directory = this.prefix.replace(/\/$/, "");
  }

  /** @param {import("wasmserve-plugin").Request} request */
  decide(request) {
    if (!request.reaches(this.prefix)) {
      const link = HeaderChange.append("Link", `<${encode(this.prefix)}>; rel="related"`);
      return proceed().change(link.when("found", "missing").types("text/html"));
    }
    if (!["GET", "HEAD"].includes(request.method())) {
      return deny(405).header("Allow", "GET, HEAD");
    }
    if (this.closes !== null && !request.before(this.closes)) {
      return respond(410).html("<!doctype html><title>Closed</title>\n").sharing(this.sharing());
    }
    const user = request.fact("user");
    if (user === "") {
      throw new Error("the fact `user` is empty");
    }
    if (user !== null) {
      return [...this.members.values()].includes(user) ? this.welcome(request, user) : deny(403);
    }
    const known = this.members.get(request.cookie("member") ?? "");
    if (known !== undefined) {
      return this.welcome(request, known);
    }
    const authorization = request.header("authorization");
    if (authorization !== null) {
      const [, token] = /^bearer +([^ ]+)$/i.exec(authorization) ?? [];
      const member = this.members.get(token ?? "");
      return member !== undefined ? this.welcome(request, member) : challenge(', error="invalid_token"');
    }
    const invite = request.queryParameter("invite");
    if (invite !== null && this.members.has(invite)) {
      return redirect(303, encode(request.path()))
        .header("Set-Cookie", `member=${invite}; Path=${encode(this.prefix)}; HttpOnly; SameSite=Lax`)
        .header("Cache-Control", "no-store");
    }
    if (request.clientWithinAny(this.office)) {
      return proceed().fact("member", "office").sharing(this.sharing());
    }
    return challenge("");
  }

  /**
   * What a member gets.
   *
   * @param {import("wasmserve-plugin").Request} request
   * @param {string} name
   */
  welcome(request, name) {
    const changes = proceed()
      .fact("member", name)
      .header("X-Member", name)
      .change(HeaderChange.set("Cache-Control", "private, max-age=60").when("found").types("text/html"))
      .removeHeader("X-Powered-By")
      .missing(404, `${this.directory}/missing.html`);
    if (request.path().replace(/\/$/, "") === this.directory) {
      changes.paths(`${this.directory}/${name}.html`, `${this.directory}/index.html`);
    }
    return this.pace === null ? changes : changes.pace(this.pace);
  }

  sharing() {
    return this.shared ? "allowed" : "derived";
  }
}

/** @param {string} more */
function challenge(more) {
  return respond(401).header("WWW-Authenticate", `Bearer realm="members"${more}`).text("Members only.\n");
}

/**
 * The names of members by their tokens.
 *
 * @param {import("wasmserve-plugin").Config} config
 * @param {Mistakes} mistakes
 */
function members(config, mistakes) {
  const table = config.json("members") ?? {};
  const names = Object.keys(table).sort();
  if (names.length === 0) {
    mistakes.note("members", "is empty: nobody would be a member");
  }
  const known = new Map();
  for (const name of names) {
    const token = table[name];
    if (!/^[a-z0-9-]+$/.test(name)) {
      mistakes.noteText("members", name, "is no name: expected a to z, 0 to 9 and `-`");
    } else if (typeof token !== "string" || !/^[A-Za-z0-9._~-]{8,}$/.test(token)) {
      mistakes.noteText("members", name, "has no token of 8 or more letters, digits, `-`, `.`, `_` and `~`");
    } else if (known.has(token)) {
      mistakes.noteText("members", name, "has the token of another member");
    } else {
      known.set(token, name);
    }
  }
  return known;
}

/**
 * @param {import("wasmserve-plugin").Config} config
 * @param {string} key
 */
function whole(config, key) {
  return config.parsed(key, (text) => {
    if (!/^[0-9]+$/.test(text)) {
      throw new Error("expected a whole number");
    }
    return Number(text);
  });
}

export const guest = policy(Members);
