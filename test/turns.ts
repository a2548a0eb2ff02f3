import { afterEach } from 'vitest';

// Tests that compute leave no turn to the messages between vitest's processes, which then counts one as lost after a minute.
afterEach(() => new Promise<void>((resolve) => setImmediate(resolve)));
