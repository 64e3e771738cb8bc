package main

import (
	"context"
	"sync"

	"github.com/seata/seata-go/pkg/protocol/branch"
	"github.com/seata/seata-go/pkg/rm"
	"github.com/seata/seata-go/pkg/rm/tcc"
	"github.com/seata/seata-go/pkg/tm"
)

// call is one phase-two call as the resource manager received it.
type call struct {
	commit   bool
	kind     string
	xid      string
	branchID int64
	resource string
	data     string
}

// journal keeps the phase-two calls of this process and can hold the next one of a resource back.
type journal struct {
	mutex sync.Mutex
	calls []call
	holds map[string]chan struct{}
}

func newJournal() *journal {
	return &journal{holds: map[string]chan struct{}{}}
}

func (j *journal) of(xid string) []call {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	var found []call
	for _, c := range j.calls {
		if c.xid == xid {
			found = append(found, c)
		}
	}
	return found
}

// hold makes the next call of the resource wait until the returned function is called.
func (j *journal) hold(resource string) func() {
	gate := make(chan struct{})
	j.mutex.Lock()
	j.holds[resource] = gate
	j.mutex.Unlock()
	var once sync.Once
	return func() { once.Do(func() { close(gate) }) }
}

func (j *journal) receive(c call) {
	j.mutex.Lock()
	j.calls = append(j.calls, c)
	gate := j.holds[c.resource]
	delete(j.holds, c.resource)
	j.mutex.Unlock()
	if gate != nil {
		<-gate
	}
}

// atManager is a resource manager for AT branches with no database under it.
type atManager struct {
	journal   *journal
	resources sync.Map
}

type atResource string

func (r atResource) GetResourceGroupId() string           { return "DEFAULT" }
func (r atResource) GetResourceId() string                { return string(r) }
func (r atResource) GetBranchType() branch.BranchType     { return branch.BranchTypeAT }
func (m *atManager) GetBranchType() branch.BranchType     { return branch.BranchTypeAT }
func (m *atManager) GetCachedResources() *sync.Map        { return &m.resources }
func (m *atManager) UnregisterResource(rm.Resource) error { return nil }

func (m *atManager) RegisterResource(resource rm.Resource) error {
	m.resources.Store(resource.GetResourceId(), resource)
	return rm.GetRMRemotingInstance().RegisterResource(resource)
}

func (m *atManager) BranchCommit(_ context.Context, b rm.BranchResource) (branch.BranchStatus, error) {
	m.journal.receive(call{true, "AT", b.Xid, b.BranchId, b.ResourceId, string(b.ApplicationData)})
	return branch.BranchStatusPhasetwoCommitted, nil
}

func (m *atManager) BranchRollback(_ context.Context, b rm.BranchResource) (branch.BranchStatus, error) {
	m.journal.receive(call{false, "AT", b.Xid, b.BranchId, b.ResourceId, string(b.ApplicationData)})
	return branch.BranchStatusPhasetwoRollbacked, nil
}

func (m *atManager) BranchRegister(_ context.Context, p rm.BranchRegisterParam) (int64, error) {
	return rm.GetRMRemotingInstance().BranchRegister(p)
}

func (m *atManager) BranchReport(_ context.Context, p rm.BranchReportParam) error {
	return rm.GetRMRemotingInstance().BranchReport(p)
}

func (m *atManager) LockQuery(_ context.Context, p rm.LockQueryParam) (bool, error) {
	return rm.GetRMRemotingInstance().LockQuery(p)
}

// serveAT puts the manager in the place of the client's own, which wants a database.
func serveAT(j *journal) error {
	manager := &atManager{journal: j}
	rm.GetRmCacheInstance().RegisterResourceManager(manager)
	return manager.RegisterResource(atResource("go-db"))
}

// action is a TCC service as an application writes one.
type action struct {
	name    string
	journal *journal
}

func newAction(name string, j *journal) (*tcc.TCCServiceProxy, error) {
	return tcc.NewTCCServiceProxy(&action{name, j})
}

func (a *action) Prepare(context.Context, interface{}) (bool, error) { return true, nil }

func (a *action) Commit(_ context.Context, c *tm.BusinessActionContext) (bool, error) {
	amount, _ := c.ActionContext["amount"].(string)
	a.journal.receive(call{true, "TCC", c.Xid, c.BranchId, c.ActionName, amount})
	return true, nil
}

func (a *action) Rollback(_ context.Context, c *tm.BusinessActionContext) (bool, error) {
	amount, _ := c.ActionContext["amount"].(string)
	a.journal.receive(call{false, "TCC", c.Xid, c.BranchId, c.ActionName, amount})
	return true, nil
}

func (a *action) GetActionName() string { return a.name }
