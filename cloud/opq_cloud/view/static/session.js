// A page of somebody signed in that shows nothing live: it leads to sign-in when their session ends.

import { openFeed } from "./feed.js";

openFeed(null, [], { open() {}, error() {} });
