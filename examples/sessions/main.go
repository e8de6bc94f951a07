// Command sessions is a web server that keeps who is logged in in the grid: any number
// of these servers share the sessions, and one that nobody has used for a while ends.
//
//	quorate dev
//	go run ./examples/sessions
//	curl -c jar -d name=ada http://127.0.0.1:8080/login; curl -b jar http://127.0.0.1:8080/
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

// login is a session of the web server.
type login struct {
	Name   string
	Visits int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := client.Dial(ctx, []string{"127.0.0.1:7170"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: handler(c, 20*time.Minute)}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	log.Println("http://" + server.Addr)
	log.Println(server.ListenAndServe())
}

// handler serves /login, /logout and /. A login ends when it was not used for as long
// as idle.
func handler(inv structures.Invoker, idle time.Duration) http.Handler {
	logins := dmap.New[string, login](inv, "logins")
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, q *http.Request) {
		id := rand.Text()
		if err := logins.Put(q.Context(), id, login{Name: q.FormValue("name")}, dmap.TTL(idle)); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "login", Value: id, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, q *http.Request) {
		if cookie, err := q.Cookie("login"); err == nil {
			if _, err := logins.Delete(q.Context(), cookie.Value); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			}
		}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, q *http.Request) {
		cookie, err := q.Cookie("login")
		if err != nil {
			http.Error(w, "not logged in", http.StatusUnauthorized)
			return
		}
		known := true
		// The time to live begins anew with each visit.
		l, err := logins.Update(q.Context(), cookie.Value, func(l login, exists bool) (login, error) {
			if known = exists; !exists {
				return l, errNotLoggedIn
			}
			l.Visits++
			return l, nil
		}, dmap.TTL(idle))
		switch {
		case !known:
			http.Error(w, "not logged in", http.StatusUnauthorized)
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, "%s, visit %d\n", l.Name, l.Visits)
		}
	})
	return mux
}

var errNotLoggedIn = fmt.Errorf("not logged in")
