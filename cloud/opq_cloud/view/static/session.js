// A page of a signed-in visitor without live values: it leads to sign-in when the session ends.

import { openFeed } from "./feed.js";

openFeed(null, [], { open() {}, error() {} });
