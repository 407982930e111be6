# The service as an image: built in one stage, run in another that has neither compiler nor tests.
FROM node:22-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:22-bookworm-slim
ENV NODE_ENV=production DATA_DIR=/data
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
COPY --from=build /build/websocket-client.html ./
COPY --from=build /build/docs/reference ./docs/reference
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 8090
# Alive rather than ready: a restart does not bring back a database that is down.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 8090}/livez`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Node itself, not npm: signals must reach it.
CMD ["node", "dist/server.js"]
