// Package dlock is a distributed lock, which one session holds at a time.
//
//	l := dlock.New(c, "reports")
//	err := l.Do(ctx, func(ctx context.Context, token protocol.Token) error {
//		return write(ctx, token) // stop when ctx ends; the resource refuses smaller tokens
//	})
//
// Lock waits until the caller has the lock. Calls that wait are served in the order of
// arrival. The lock is free again when its hold is released, when the session of its holder
// has ended, or when it was revoked ([Lock.ForceUnlock]). Every operation is linearizable,
// and every mutation is applied exactly once.
//
// What a holder can rely on: the context of a hold ends before anybody else is granted the
// lock, for as long as the holder's process runs. A process that is paused, or a request that
// it has sent, cannot be stopped by a context. So every grant has a fencing token, the version
// of the mutation that granted it: tokens grow from grant to grant, for ever, even after
// Destroy. A resource that remembers the largest token it has seen, and refuses smaller ones,
// is safe from former holders. What lies in the same partition of the grid needs no token:
// with the option IfHeld, such as [github.com/quorate/quorate/structures/dmap.IfHeld], a write
// is applied only if the lock is held in the very state that it is applied to.
//
// The lock is not reentrant: a hold is a value, which is handed on. A call of Lock whose
// context carries a hold of this lock, as [structures.Held.Bind] and Do make it, is ErrHeld at
// once, since it would wait for itself. That needs no state in the grid. It is no sync.Locker
// either: there Lock could not fail, and Unlock could not say that the lock was lost
// meanwhile. Do is what one wants of it.
//
// A lock costs nothing while nobody holds it and none of its settings is set, so there may be
// one for each user. The setting Delay keeps a lock from the next one for a while after a hold
// that was not released: whatever its holder has sent can arrive until then.
//
// For those who know others: etcd's Mutex.Lock, TryLock and IsOwner are Lock, TryLock and
// IfHeld; Curator's InterProcessSemaphoreMutex is Lock, its InterProcessMutex Lock with the
// context of the hold passed on, its InterProcessMultiLock LockAll and its Revoker ForceUnlock
// with AskOnly; Consul's lock-delay is Delay; Hazelcast's FencedLock is Lock, and getFence
// Held.Token.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package dlock
