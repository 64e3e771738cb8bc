// An application on seata-go that takes part in global transactions: it obeys lines on standard input, answers each with a
// line starting "re", and tells of each phase of its TCC service with a line starting "call". Fields are separated by tabs.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seata/seata-go/pkg/client"
	"github.com/seata/seata-go/pkg/protocol/message"
	"github.com/seata/seata-go/pkg/rm/tcc"
	"github.com/seata/seata-go/pkg/tm"
)

// reservation is what the application hands to its service. The quantity is text, because the client reads numbers back as
// floats.
type reservation struct {
	Item     string `tccParam:"item"`
	Quantity string `tccParam:"quantity"`
}

// stock is a TCC service as an application writes one; it tells of its calls.
type stock struct{ peer *peer }

func (s *stock) Prepare(ctx context.Context, params interface{}) (bool, error) {
	reserved := params.(*reservation)
	s.peer.tell("call", "try", tm.GetXID(ctx), "", reserved.Item, reserved.Quantity)
	return true, nil
}

func (s *stock) Commit(_ context.Context, c *tm.BusinessActionContext) (bool, error) {
	return s.second("confirm", c)
}

func (s *stock) Rollback(_ context.Context, c *tm.BusinessActionContext) (bool, error) {
	return s.second("cancel", c)
}

func (s *stock) GetActionName() string { return "stockOfGo" }

func (s *stock) second(phase string, c *tm.BusinessActionContext) (bool, error) {
	item, _ := c.ActionContext["item"].(string)
	quantity, _ := c.ActionContext["quantity"].(string)
	s.peer.tell("call", phase, c.Xid, fmt.Sprint(c.BranchId), item, quantity)
	return true, nil
}

type peer struct {
	out    *os.File
	mutex  sync.Mutex
	action *tcc.TCCServiceProxy
}

func main() {
	p := &peer{out: os.Stdout}
	// The client logs to standard output, which belongs to the driver here.
	os.Stdout = os.Stderr
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := p.obey(strings.Split(lines.Text(), "\t"))
		if err != nil {
			p.tell("re", "error", "other", strings.Join(strings.Fields(err.Error()), " "))
		} else {
			p.tell("re", "ok", answer)
		}
	}
}

func (p *peer) obey(order []string) (string, error) {
	manager := tm.GetGlobalTransactionManager()
	switch {
	case order[0] == "start":
		client.InitPath(os.Getenv("INTEROP_CONFIG"))
		return "", nil
	case order[0] == "action":
		proxy, err := tcc.NewTCCServiceProxy(&stock{p})
		p.action = proxy
		return "stockOfGo", err
	case order[0] == "begin" && len(order) == 3:
		timeoutMs, err := strconv.Atoi(order[2])
		if err != nil {
			return "", err
		}
		ctx := tm.InitSeataContext(context.Background())
		tm.SetTxName(ctx, order[1])
		err = manager.Begin(ctx, time.Duration(timeoutMs)*time.Millisecond)
		return tm.GetXID(ctx), err
	case order[0] == "commit" && len(order) == 2:
		tx := &tm.GlobalTransaction{Xid: order[1], TxRole: tm.Launcher}
		err := manager.Commit(context.Background(), tx)
		return spoken(tx.TxStatus), err
	case order[0] == "rollback" && len(order) == 2:
		tx := &tm.GlobalTransaction{Xid: order[1], TxRole: tm.Launcher}
		err := manager.Rollback(context.Background(), tx)
		return spoken(tx.TxStatus), err
	case order[0] == "try" && len(order) == 4:
		ctx := tm.InitSeataContext(context.Background())
		tm.SetXID(ctx, order[1])
		_, err := p.action.Prepare(ctx, &reservation{order[2], order[3]})
		return "", err
	default:
		return "", fmt.Errorf("unknown order %v", order)
	}
}

// spoken names a status as the Java client does.
func spoken(status message.GlobalStatus) string {
	switch status {
	case message.GlobalStatusCommitted:
		return "Committed"
	case message.GlobalStatusRollbacked:
		return "Rollbacked"
	default:
		return fmt.Sprintf("status %d", status)
	}
}

func (p *peer) tell(fields ...string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	fmt.Fprintln(p.out, strings.Join(fields, "\t"))
}
