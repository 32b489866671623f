"""A Flask application whose users sign in at an MCP server. README.md says how to start it."""

import os
from urllib.parse import urlsplit

from flask import Flask, abort, redirect, render_template_string, request, session

import mcpsync

REDIRECT_URI = os.environ["OAUTH_REDIRECT_URI"]  # https://app.example.com/mcp/callback
CALLBACK, SECURE = urlsplit(REDIRECT_URI).path, REDIRECT_URI.startswith("https:")
COOKIE = {"path": CALLBACK, "max_age": 15 * 60, "httponly": True, "samesite": "Lax"}
TROUBLE = '<p>{{ sentence }}</p><p><a href="/">Back</a></p>'

app = Flask(__name__)
app.secret_key = os.environ["APP_SECRET"]
app.config.update(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_SECURE=SECURE)
store = mcpsync.stores.SQLiteStore(os.environ["STORE_PATH"], key=os.environ["STORE_KEY"])
manager = mcpsync.MCPManager(
    {"crm": {"url": os.environ["MCP_URL"], "requires_oauth": True}},
    store=store,
    oauth_redirect_uri=REDIRECT_URI,
    client_name="Flask example",
    timeout=10,
)


@app.post("/login")
def login():
    """Say who is there. Yours checks a password."""
    session["user_id"] = request.form["user"]
    return "", 204


@app.get("/")
def search():
    """Call a tool for whoever is logged in."""
    user_id = session.get("user_id") or abort(401)
    result = manager.call_tool("crm", "echo", {"text": request.args.get("q", "hi")}, user=user_id)
    return {"answer": [block.text for block in result.content if block.type == "text"]}


@app.errorhandler(mcpsync.AuthorizationRequired)
def sign_in(required):
    """Send the user to sign in: this view is where any of the others ends without a token."""
    if required.authorization_url is None:  # the server takes nobody, and does not say who does
        return trouble(required)
    session["back"] = request.full_path if request.method == "GET" else "/"
    answer = redirect(required.authorization_url)
    answer.set_cookie(f"mcp-{required.state}", required.browser_binding, secure=SECURE, **COOKIE)
    return answer


@app.get(CALLBACK)
def callback():
    """Take what the user came back with to whichever process this is."""
    state = request.args.get("state", "")
    manager.complete_authorization(
        state=state,
        code=request.args.get("code"),
        iss=request.args.get("iss"),
        error=request.args.get("error"),
        user=session.get("user_id"),
        browser_binding=request.cookies.get(f"mcp-{state}"),
    )
    return redirect(session.pop("back", "/"))


@app.post("/sign-out")
def sign_out():
    """Give the tokens back."""
    manager.revoke("crm", user=session.get("user_id") or abort(401))
    return "", 204


@app.errorhandler(mcpsync.MCPSyncError)
def trouble(error):
    """Say what happened: to the log, and, of signing in, to the user."""
    app.logger.warning("%s", error)
    signing_in = isinstance(error, mcpsync.OAuthError) or request.path == CALLBACK
    sentence = f"Not signed in: {error.message}" if signing_in else "The CRM does not answer."
    return render_template_string(TROUBLE, sentence=sentence), 403 if signing_in else 502
