// A certified OpenID provider for the MCP servers of tests: node oidc_provider.mjs FOLDER PORT
// FOLDER is where the package oidc-provider is installed. Everybody is `ada`, and agrees to everything.
// It writes a line for each thing that happened, with no secret in it, and ends with its standard input.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port] = process.argv.slice(2);
const found = createRequire(`${folder}/`).resolve('oidc-provider');
const { Provider, errors } = await import(pathToFileURL(found));
const { createRemoteJWKSet, jwtVerify } = await import(pathToFileURL(createRequire(found).resolve('jose')));

const issuer = `http://127.0.0.1:${port}`;
const lifetime = 3600;

const provider = new Provider(issuer, {
  clients: [],
  scopes: ['openid', 'offline_access', 'read', 'write'],
  cookies: { keys: ['not a secret'] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: { AccessToken: lifetime, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 600, IdToken: 600, ClientCredentials: lifetime },
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, email: `${id}@example.com` }) }),
  // The documents of tests are on this machine, where the provider's own dispatcher would not ask.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => process.env.DPOP_NONCE === '1' },
    clientIdMetadataDocument: { enabled: true, ack: 'draft-02' },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => undefined,
      useGrantedResource: async () => true,
      getResourceServerInfo: async (ctx, resource) => ({
        scope: 'read write',
        audience: resource,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { params, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: 'ada', clientId: params.client_id });
  grant.addOIDCScope('openid offline_access read write');
  for (const resource of [params.resource].flat().filter(Boolean)) {
    grant.addResourceScope(resource, params.scope ?? 'read write');
  }
  const result = { login: { accountId: 'ada' }, consent: { grantId: await grant.save() } };
  return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
});

// On behalf of a user: his token for APP, with the scope `read`, is taken for one for another server.
const APP = 'https://app.example/api';
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
const ofGrant = {
  'urn:ietf:params:oauth:grant-type:jwt-bearer': ['assertion', 'requested_token_use'],
  'urn:ietf:params:oauth:grant-type:token-exchange': ['subject_token', 'subject_token_type', 'requested_token_type'],
};
for (const [grant, names] of Object.entries(ofGrant)) {
  provider.registerGrantType(grant, exchange, [...names, 'scope', 'resource']);
}

async function exchange(ctx) {
  const { params, client } = ctx.oidc;
  if (params.assertion && params.requested_token_use !== 'on_behalf_of') throw new errors.InvalidRequest('on_behalf_of is wanted');
  let user;
  try {
    user = (await jwtVerify(params.assertion ?? params.subject_token, keys, { issuer, audience: APP })).payload;
  } catch {
    throw new errors.InvalidGrant('it is not good');
  }
  if (!user.scope?.split(' ').includes('read')) throw new errors.InvalidGrant('it is for something else');
  if (params.scope === 'write') throw new errors.CustomOIDCProviderError('interaction_required', 'AADSTS50076');
  const token = new provider.AccessToken({ accountId: user.sub, client, scope: params.scope, gty: 'on_behalf' });
  token.resourceServer = new provider.ResourceServer(params.resource, {
    scope: 'read write', audience: params.resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
  });
  const kind = params.subject_token ? { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' } : {};
  ctx.body = { access_token: await token.save(), token_type: 'Bearer', expires_in: lifetime, scope: params.scope, ...kind };
  tell('exchanged', params.grant_type);
}

// So that nobody has to wait: the tokens that codes are redeemed for are over when they come.
provider.use(async (ctx, next) => {
  await next();
  if (ctx.path === '/token' && ctx.oidc?.params?.grant_type === 'authorization_code' && ctx.status === 200) {
    ctx.body = { ...ctx.body, expires_in: 1e-6 };
  }
});

const tell = (...words) => console.log(words.join(' '));
provider.on('grant.success', (ctx) => tell('granted', ctx.oidc.params.grant_type));
provider.on('grant.error', (ctx, error) => tell('refused', ctx.oidc?.params?.grant_type, error.message));
provider.on('registration_create.success', () => tell('registered'));
provider.on('refresh_token.consumed', () => tell('rotated'));
provider.on('grant.revoked', () => tell('revoked'));
for (const event of ['authorization.error', 'registration_create.error', 'revocation.error', 'server_error']) {
  provider.on(event, (ctx, error) => tell(event, error.message, error.error_description ?? ''));
}

process.stdin.resume().on('end', () => process.exit(0));
provider.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${issuer}`));
