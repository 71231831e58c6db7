package approver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	certsv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
)

const (
	labelNode        = "kl.dev/node"    // of a token's Secret: the node that it is for
	annotationUsed   = "kl.dev/used-by" // of a token's Secret: UID of the request that it was used for
	tokenLifetime    = 10 * time.Minute // of a token that is not used
	tokenAfterUse    = time.Minute      // for the node to fetch its certificate with the same token
	tokenKnownWithin = 5 * time.Second  // the API server learns of a token from its cache
	tokenKnownPoll   = 5 * time.Millisecond
)

// IssueToken makes a bootstrap token (https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/) for one node and
// withdraws those that the node had before. It is of use for one request, and only for some minutes. It is known to the API
// server when IssueToken returns.
func IssueToken(ctx context.Context, client kubernetes.Interface, node string) (string, error) {
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	err := secrets.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{
		LabelSelector: labelNode + "=" + node, FieldSelector: "type=" + string(bootstrapapi.SecretTypeBootstrapToken),
	})
	if err != nil {
		return "", fmt.Errorf("withdraw tokens of node %s: %w", node, err)
	}
	text := strings.ToLower(rand.Text()) // 26 characters of base32
	id, secret := text[:6], text[6:22]
	_, err = secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: bootstrapapi.BootstrapTokenSecretPrefix + id, Namespace: metav1.NamespaceSystem, Labels: map[string]string{labelNode: node},
		},
		Type: bootstrapapi.SecretTypeBootstrapToken,
		StringData: map[string]string{
			bootstrapapi.BootstrapTokenIDKey: id, bootstrapapi.BootstrapTokenSecretKey: secret,
			bootstrapapi.BootstrapTokenExpirationKey:       time.Now().Add(tokenLifetime).UTC().Format(time.RFC3339),
			bootstrapapi.BootstrapTokenUsageAuthentication: "true",
			bootstrapapi.BootstrapTokenExtraGroupsKey:      JoinGroup + "," + joinGroupOf(node),
			bootstrapapi.BootstrapTokenDescriptionKey:      "node " + node + " joins with it",
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("make token of node %s: %w", node, err)
	}
	token := id + "." + secret
	return token, awaitToken(ctx, client, token)
}

// awaitToken returns when the API server takes a token.
func awaitToken(ctx context.Context, client kubernetes.Interface, token string) error {
	review := &authv1.TokenReview{Spec: authv1.TokenReviewSpec{Token: token}}
	err := wait.PollUntilContextTimeout(ctx, tokenKnownPoll, tokenKnownWithin, true, func(ctx context.Context) (bool, error) {
		answer, err := client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return answer.Status.Authenticated, nil
	})
	if err != nil {
		return fmt.Errorf("wait until the API server knows a token: %w", err)
	}
	return nil
}

var (
	errTokenGone = errors.New("the token was withdrawn or has expired")
	errTokenUsed = errors.New("the token was used before")
)

// use marks the token of a request as used by it. The error wraps errTokenGone or errTokenUsed if it cannot be used.
func (a *Approver) use(ctx context.Context, csr *certsv1.CertificateSigningRequest) error {
	id := strings.TrimPrefix(csr.Spec.Username, bootstrapapi.BootstrapUserPrefix)
	secrets := a.Client.CoreV1().Secrets(metav1.NamespaceSystem)
	token, err := secrets.Get(ctx, bootstrapapi.BootstrapTokenSecretPrefix+id, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return errTokenGone
	}
	if err != nil {
		return fmt.Errorf("read token: %w", err)
	}
	switch token.Annotations[annotationUsed] {
	case string(csr.UID):
		return nil // the approval failed after the mark
	case "":
	default:
		return errTokenUsed
	}
	metav1.SetMetaDataAnnotation(&token.ObjectMeta, annotationUsed, string(csr.UID))
	token.StringData = map[string]string{
		bootstrapapi.BootstrapTokenExpirationKey: time.Now().Add(tokenAfterUse).UTC().Format(time.RFC3339),
	}
	if _, err := secrets.Update(ctx, token, metav1.UpdateOptions{}); err != nil { // a conflict: the request is handled again
		return fmt.Errorf("mark token: %w", err)
	}
	return nil
}
