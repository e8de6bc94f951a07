import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.ReentrantLock;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooKeeper;

/**
 * Bridge speaks to ZooKeeper for clients in another process. Each line of its input is a request,
 * and each of its output an answer with the request's number; many are under way at once.
 *
 * <pre>
 *   1 open 127.0.0.1:2181,... 10000   begins a connection with a session of 10,000 ms
 *   2 put 1 KEY BASE64                puts through the connection that request 1 began
 *   3 get 1 KEY                       reads what was put before, by any client
 *   4 watch 1 KEY                     begins a watch; "4 event BASE64" for each change, after "4 ok"
 *   5 lock 1 NAME                     begins a hold of a lock; answered when it is granted
 *   6 end 5                           ends what request 5 began, or cancels it
 *   7 echo                            does nothing, on the thread that a lock would have
 *
 *   2 ok
 *   3 error MESSAGE
 * </pre>
 *
 * When its input ends, it halts at once: its sessions are left to expire, like those of a client
 * that was killed.
 */
final class Bridge {
    /** What a request began, until another ends it; that one's number says whom to answer. */
    private interface Begun {
        void end(long by);
    }

    private interface Action {
        void run() throws Exception;
    }

    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final Map<Long, CuratorFramework> clients = new ConcurrentHashMap<>();
    private final Map<Long, Begun> begun = new ConcurrentHashMap<>();

    private final OutputStream out = new FileOutputStream(FileDescriptor.out);
    private final Queue<String> answers = new ConcurrentLinkedQueue<>();
    private final ReentrantLock writing = new ReentrantLock();

    public static void main(String[] args) throws IOException {
        new Bridge().run();
    }

    private void run() throws IOException {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] request = line.split(" ", -1);
            long id = Long.parseLong(request[0]);
            run(id, () -> handle(id, request));
        }
        Runtime.getRuntime().halt(0);
    }

    private void handle(long id, String[] r) throws Exception {
        switch (r[1]) {
            case "open" -> open(id, r[2], Integer.parseInt(r[3]));
            case "put" -> put(id, client(r[2]), path(r[3]), Base64.getDecoder().decode(r[4]));
            case "get" -> get(id, client(r[2]), path(r[3]));
            case "watch" -> watch(id, client(r[2]), path(r[3]));
            case "lock" -> lock(id, client(r[2]), "/locks/" + r[3]);
            case "end" -> {
                Begun other = begun.remove(Long.valueOf(r[2]));
                if (other == null) {
                    throw new IllegalStateException("request " + r[2] + " began nothing that lasts");
                }
                other.end(id);
            }
            case "echo" -> threads.execute(() -> answer(id + " ok"));
            default -> throw new IllegalArgumentException("there is no request " + r[1]);
        }
    }

    private CuratorFramework client(String id) {
        CuratorFramework client = clients.get(Long.valueOf(id));
        if (client == null) {
            throw new IllegalStateException("request " + id + " has no connection open");
        }
        return client;
    }

    private static String path(String key) {
        return "/bench/" + key;
    }

    private void open(long id, String servers, int sessionMillis) {
        var client = CuratorFrameworkFactory.builder()
                .connectString(servers)
                .sessionTimeoutMs(sessionMillis)
                .connectionTimeoutMs(5000)
                .retryPolicy(new ExponentialBackoffRetry(100, 3))
                .build();
        clients.put(id, client);
        Begun connection = by -> threads.execute(() -> run(by, () -> {
            clients.remove(id);
            client.close();
            answer(by + " ok");
        }));
        begun.put(id, connection);
        threads.execute(() -> run(id, () -> {
            client.start();
            if (!client.blockUntilConnected(5, TimeUnit.SECONDS)) {
                throw new KeeperException.ConnectionLossException();
            }
            int granted = client.getZookeeperClient().getZooKeeper().getSessionTimeout();
            if (granted != sessionMillis) {
                throw new IllegalStateException("the servers made a session of " + granted + " ms");
            }
            answer(id + " ok");
        }));
    }

    /** Puts without Curator's retries, which would do it again after another's put. */
    private void put(long id, CuratorFramework client, String path, byte[] value) throws Exception {
        client.getZookeeperClient().getZooKeeper().setData(path, value, -1, (rc, p, x, stat) -> {
            if (rc != Code.NONODE.intValue()) {
                answer(id, rc);
                return;
            }
            run(id, () -> client.create().orSetData().creatingParentsIfNeeded()
                    .inBackground((c, e) -> answer(id, e.getResultCode())).forPath(path, value));
        }, null);
    }

    /**
     * Gets after a sync. Both are sent at once: a server keeps the order of a session's requests.
     * Without Curator's retries, which would not.
     */
    private void get(long id, CuratorFramework client, String path) throws Exception {
        ZooKeeper zk = client.getZookeeperClient().getZooKeeper();
        int[] synced = {0};
        zk.sync(path, (rc, p, x) -> synced[0] = rc, null);
        zk.getData(path, false, (rc, p, x, data, stat) -> {
            int failed = synced[0] != 0 ? synced[0] : rc;
            answer(id, failed == Code.NONODE.intValue() ? 0 : failed);
        }, null);
    }

    private void watch(long id, CuratorFramework client, String path) {
        var cache = CuratorCache.builder(client, path)
                .withOptions(CuratorCache.Options.SINGLE_NODE_CACHE)
                .withExceptionHandler(e -> fail(id, e))
                .build();
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forInitialized(() -> answer(id + " ok"))
                .forCreatesAndChanges((old, node) ->
                        answer(id + " event " + Base64.getEncoder().encodeToString(node.getData())))
                .afterInitialized()
                .build());
        begun.put(id, by -> threads.execute(() -> run(by, () -> {
            cache.close();
            answer(by + " ok");
        })));
        cache.start();
    }

    /** A hold has a thread of its own: only the thread that acquired an InterProcessMutex may release it. */
    private void lock(long id, CuratorFramework client, String path) {
        var mutex = new InterProcessMutex(client, path);
        var acquiring = new AtomicBoolean(true); // until its thread has it, or a request cancels it
        var holder = new CompletableFuture<Thread>();
        var ended = new CompletableFuture<Long>();
        begun.put(id, by -> {
            if (acquiring.compareAndSet(true, false)) {
                holder.join().interrupt();
            }
            ended.complete(by);
        });
        threads.execute(() -> {
            holder.complete(Thread.currentThread());
            Exception failed = null;
            try {
                mutex.acquire();
            } catch (Exception e) {
                failed = e;
            }
            if (acquiring.compareAndSet(true, false)) {
                if (failed != null) {
                    begun.remove(id);
                    fail(id, failed);
                    return;
                }
                answer(id + " ok");
            }
            long by = ended.join();
            Thread.interrupted(); // it was meant for the acquire, and has come before the end
            boolean held = failed == null;
            run(by, () -> {
                if (held) {
                    mutex.release();
                }
                answer(by + " ok");
            });
        });
    }

    /** Runs a part of a request, and answers with its error if it fails. */
    private void run(long id, Action action) {
        try {
            action.run();
        } catch (Exception e) {
            fail(id, e);
        }
    }

    private void fail(long id, Exception e) {
        answer(id + " error " + e.toString().replace('\n', ' '));
    }

    private void answer(long id, int rc) {
        if (rc == 0) {
            answer(id + " ok");
        } else {
            fail(id, KeeperException.create(Code.get(rc)));
        }
    }

    /** Writes an answer, or leaves it to the thread that is writing others. */
    private void answer(String line) {
        answers.add(line);
        while (!answers.isEmpty() && writing.tryLock()) {
            try {
                var lines = new StringBuilder();
                for (String next = answers.poll(); next != null; next = answers.poll()) {
                    lines.append(next).append('\n');
                }
                out.write(lines.toString().getBytes(StandardCharsets.UTF_8));
            } catch (IOException e) {
                Runtime.getRuntime().halt(1); // nobody is there to read
            } finally {
                writing.unlock();
            }
        }
    }
}
