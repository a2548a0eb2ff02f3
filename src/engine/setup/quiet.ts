import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

/**
 * TensorFlow writes lines such as "oneDNN custom operations are on" to standard error while its library is loaded, before
 * it reads `TF_CPP_MIN_LOG_LEVEL`. Only the file descriptor itself can be turned away then, which Node cannot do: hence a
 * module of two functions, built together with the engine.
 */
export const QUIET_SOURCE = `
#include <fcntl.h>
#include <node_api.h>
#include <unistd.h>

static napi_value Hush(napi_env env, napi_callback_info) {
  napi_value result;
  int saved = dup(2);
  int null = open("/dev/null", O_WRONLY);
  if (saved >= 0) fcntl(saved, F_SETFD, FD_CLOEXEC);
  if (saved >= 0 && null >= 0) dup2(null, 2);
  if (null >= 0) close(null);
  napi_create_int32(env, saved, &result);
  return result;
}

static napi_value Restore(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int32_t saved = -1;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count == 1 && napi_get_value_int32(env, argument, &saved) == napi_ok && saved >= 0) {
    dup2(saved, 2);
    close(saved);
  }
  return nullptr;
}

static napi_value Init(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "hush", NAPI_AUTO_LENGTH, Hush, nullptr, &function);
  napi_set_named_property(env, exports, "hush", function);
  napi_create_function(env, "restore", NAPI_AUTO_LENGTH, Restore, nullptr, &function);
  napi_set_named_property(env, exports, "restore", function);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, Init)
`;

/**
 * Runs `load` with standard error turned away, if the module at `path` is there and the user has not asked for
 * TensorFlow's log (`TF_CPP_MIN_LOG_LEVEL` below 2). What fails is thrown, so nothing that matters is lost.
 */
export const quietly = <A>(path: string, env: NodeJS.ProcessEnv, load: () => A): A => {
  const level = Number(env.TF_CPP_MIN_LOG_LEVEL ?? 2);
  if (level < 2 || !existsSync(path)) return load();
  const quiet = createRequire(path)(path) as { hush(): number; restore(saved: number): void };
  const saved = quiet.hush();
  try {
    return load();
  } finally {
    quiet.restore(saved);
  }
};
